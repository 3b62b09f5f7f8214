"""The callers of an operation: kinds of tokens, scopes, end-user keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lapel.foundation.core.errors import Forbidden, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.foundation.core.actors import Actor, ActorKind
    from lapel.foundation.identity.token_kinds import TokenKind

KEYS: frozenset[ActorKind] = frozenset({"key"})


@dataclass(frozen=True, slots=True)
class Access:
    """The callers of an operation.

    A key needs `scope` (none if it is None) and all of `more_scopes`. A key that has `or_scope` does not need
    `scope`. `callers` may also name device, upload and end-user tokens, which need no scope. With `scope`
    None and no `callers` the operation is public.
    `end_user_keys` is the rule for a key scoped to one end user: `filter` (lists and reads show only that end
    user's data), `imply` (the end user is taken from the key), `deny` (403). `inside`: kinds of tokens
    that may call it only through a mounted application.
    """

    scope: str | None
    callers: frozenset[ActorKind] = KEYS
    end_user_keys: Literal["filter", "imply", "deny"] = "deny"
    more_scopes: tuple[str, ...] = ()
    inside: frozenset[ActorKind] = frozenset()
    or_scope: str | None = None
    # True if a replaced device token may call this until its replacement is used.
    refreshing_tokens: bool = False

    @property
    def public(self) -> bool:
        """Whether no token is needed."""
        return self.scope is None and not self.callers

    def admit(self, actor: Actor, kinds: Mapping[ActorKind, TokenKind], *, inside: bool = False) -> None:
        """Check that this caller may call the operation; `inside`: through a mounted application.

        Raises Forbidden when this kind of token, or this key, may not call it; Unauthorized when the token is
        a replaced device token and the operation refuses replaced tokens.
        """
        if actor.refresh_only and not self.refreshing_tokens:
            raise Unauthorized("This device token was replaced. Use the new one.")
        if actor.kind not in self.callers and not (inside and actor.kind in self.inside):
            takes = " or ".join(kinds[kind].holder for kind in kinds if kind in self.callers)
            raise Forbidden(f"This route takes {takes}, not {kinds[actor.kind].holder}.")
        if actor.kind == "key":
            if not actor.scopes.issuperset(self._list_needed_scopes(actor)):
                raise self._lacking(actor)
            if actor.end_user_id is not None and self.end_user_keys == "deny":
                raise Forbidden("A key that is scoped to one end user may not call this route.")

    def _list_needed_scopes(self, actor: Actor) -> tuple[str, ...]:
        if self.scope is None or self.or_scope in actor.scopes:
            return self.more_scopes
        return (self.scope, *self.more_scopes)

    def _lacking(self, actor: Actor) -> Forbidden:
        needed = self._list_needed_scopes(actor)
        missing = [scope for scope in needed if scope not in actor.scopes]
        instead = f" (`{self.or_scope}` suffices instead of `{self.scope}`)" if self.scope in missing else ""
        return lacking_scopes(missing, instead if self.or_scope is not None else "")


def lacking_scopes(missing: Sequence[str], why: str = "") -> Forbidden:
    """The refusal of a key that lacks scopes. `why`: the end of the sentence."""
    named = ", ".join(f"`{scope}`" for scope in missing)
    return Forbidden(f"This key lacks the scope{'s' * (len(missing) > 1)} {named}{why}.")


PUBLIC = Access(None, frozenset())
