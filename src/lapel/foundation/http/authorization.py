"""Whether a caller may call an operation: kind of token, scopes, end-user keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.http.operations import Operation

_CALLERS: dict[ActorKind, str] = {
    "key": "a key",
    "device": "a device token",
    "upload": "an upload token",
    "end_user": "an end-user token",
}


def admit(operation: Operation, actor: Actor) -> None:
    """Check that this caller may call the operation.

    Raises Forbidden when this kind of token, or this key, may not; Unauthorized when a device token was
    replaced and the operation does not take replaced ones.
    """
    if actor.refresh_only and not operation.refreshing_tokens:
        raise Unauthorized("This device token was replaced. Use the new one.")
    if actor.kind not in operation.callers:
        takes = " or ".join(_CALLERS[kind] for kind in _CALLERS if kind in operation.callers)
        raise Forbidden(f"This route takes {takes}, not {_CALLERS[actor.kind]}.")
    if actor.kind == "key":
        if operation.scope not in actor.scopes or not actor.scopes.issuperset(operation.more_scopes):
            raise _lacking(operation, actor)
        if actor.end_user_id is not None and operation.end_user_keys == "deny":
            raise Forbidden("A key that is scoped to one end user may not call this route.")


def _lacking(operation: Operation, actor: Actor) -> Forbidden:
    needed = (operation.scope, *operation.more_scopes)
    missing = [f"`{scope}`" for scope in needed if scope not in actor.scopes]
    return Forbidden(f"This key lacks the scope{'s' * (len(missing) > 1)} {', '.join(missing)}.")
