"""The scopes of keys: the contract's list, and after it Lapel's own.

The slices declare the scopes that they ask for. `tests/slices/test_declared.py` compares both lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Collection

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
    "end_user_keys:write",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

# Clients of the public API use Ask with keys that have only `recordings:read`. Such a key may also ask
# (`ask/routes.py`), but not change or delete a session.
IMPLIED: dict[Scope, frozenset[Scope]] = {"recordings:read": frozenset({"ask:read"})}


def granted(scopes: Collection[Scope]) -> frozenset[str]:
    """These scopes, and the scopes that they imply."""
    implied = [IMPLIED[scope] for scope in SCOPES if scope in scopes and scope in IMPLIED]
    return frozenset(scopes).union(*implied)
