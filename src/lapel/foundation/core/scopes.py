"""The scopes: the permissions of API keys."""

from __future__ import annotations

from typing import Literal, get_args

Scope = Literal[
    "recordings:read",
    "recordings:write",
    "transcriptions:read",
    "transcriptions:write",
    "summaries:read",
    "summaries:write",
    "ask:read",
    "ask:write",
    "end_users:read",
    "end_users:write",
    "devices:read",
    "devices:write",
    "config:read",
    "config:write",
    "firmware:write",
    "webhooks:read",
    "webhooks:write",
    "keys:write",
    "audit:read",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

# The scopes with which an end-user token reads. A key needs all of them to issue one: no key grants a right
# that it lacks.
END_USER_READS: tuple[Scope, ...] = (
    "recordings:read",
    "transcriptions:read",
    "summaries:read",
    "ask:read",
    "end_users:read",
    "devices:read",
)

# Existing clients of the API use Ask with `recordings:read`.
IMPLIED: dict[Scope, frozenset[Scope]] = {"recordings:read": frozenset({"ask:read", "ask:write"})}


def granted(scopes: list[str]) -> frozenset[str]:
    """The scopes, and the scopes that they imply."""
    implied = [IMPLIED[scope] for scope in SCOPES if scope in scopes and scope in IMPLIED]
    return frozenset(scopes).union(*implied)
