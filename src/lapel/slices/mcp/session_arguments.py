"""Compares what the arguments of a question say about its session with the session itself.

The route of a question takes neither `scope` nor `end_user_id`, but the tool that asks does, for a new
session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCOPE, END_USER = "scope", "end_user_id"


def is_described(arguments: Mapping[str, Any]) -> bool:
    """Whether the arguments say more about a session than its id."""
    return arguments.get(SCOPE) is not None or arguments.get(END_USER) is not None


def differing(arguments: Mapping[str, Any], session: Mapping[str, Any]) -> str | None:
    """The argument that is not as the session has it; None if there is none.

    `arguments`: as the route checks them that makes a session. `session`: as the API shows it.
    """
    if arguments.get(END_USER) not in (None, session[END_USER]):
        return END_USER
    scope = arguments.get(SCOPE)
    if scope is not None and _recordings(scope) != (
        session[SCOPE]["type"],
        {*session[SCOPE]["recording_ids"]},
    ):
        return SCOPE
    return None


def _recordings(scope: Mapping[str, Any]) -> tuple[str, set[str]]:
    """The type of a scope, and its recordings."""
    ids: list[str] = []
    if scope["type"] == "recording":
        ids = [scope["recording_id"]] if scope.get("recording_id") else []
    elif scope["type"] == "selected":
        ids = scope.get("recording_ids") or []
    return scope["type"], set(ids)
