"""What clients and the operator are told when a language model fails.

The messages of ModelFailed and ModelAway have the service's own text, and name settings and commands. Clients
can use neither: they are told which slot failed, how, and what they can do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.language_models.model_failures import ModelAway, ModelFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.slices.language_models.model_failures import FailureCode, ModelAwayHow

_TELL = "Name another `provider`, or tell the operator of this server."
_LESS = "Ask for less at once, or name another `provider`."
_AGAIN = "Repeat the request, or name another `provider`."
_LATER = "Repeat the request later, or name another `provider`."
# How it failed, and what the client can do. The message of `budget` is written for clients.
_FAILED: Mapping[FailureCode, tuple[str, str]] = {
    "account": ("its account cannot be used", _TELL),
    "context": ("its model reads less than was sent to it at once", _LESS),
    "engine": ("its engine cannot do what it was asked for", _TELL),
    "refused": ("its model does not answer this", "Ask in other words, or name another `provider`."),
    "repetition": ("its model repeated itself without an end", _AGAIN),
    "schema": ("its model answered twice in a form that does not fit the schema", _AGAIN),
    "truncated": ("its model did not come to the end of the answer", _LESS),
}
_AWAY: Mapping[ModelAwayHow, str] = {
    "busy": "too many calls wait for it",
    "connection": "its service cannot be reached, or broke off the answer",
    "failed": "its engine failed",
    "overloaded": "its service is overloaded, or limits the requests",
    "timed_out": "it did not answer in time",
    "unreadable": "the answer of its service cannot be read",
}
_REFUSED_KEY = "its service refused the key"
# The messages of these failures may quote the answer, which is about people's recordings.
_QUOTING: frozenset[FailureCode] = frozenset({"refused", "schema"})


def told_to_client(failure: ModelFailed | ModelAway, slot: str) -> str:
    """The message for the client that named `slot`, or whose configuration names it."""
    if isinstance(failure, ModelFailed) and failure.code == "budget":
        return failure.message
    if isinstance(failure, ModelAway):
        how, remedy = _AWAY[failure.how], _LATER
    else:
        how, remedy = _FAILED[failure.code]
        if failure.code == "account" and failure.status in (401, 403):
            how = _REFUSED_KEY
    status = "" if failure.status is None else f" (HTTP {failure.status})"
    return f"The language model of `{slot}` gave no usable answer: {how}{status}. {remedy}"


def told_to_log(failure: ModelFailed | ModelAway, slot: str) -> dict[str, str | int | None]:
    """The fields of a line of the log. The message is left out if it may quote an answer."""
    is_failed = isinstance(failure, ModelFailed)
    return {
        "slot": slot,
        "how": failure.code if is_failed else failure.how,
        "status": failure.status,
        "error": None if is_failed and failure.code in _QUOTING else failure.message,
    }
