"""Kinds of tokens. The slice that issues a kind declares its prefixes, its look-up and its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lapel.foundation.core.actors import Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from lapel.foundation.core.actors import ActorKind, Mode
    from lapel.foundation.core.rate_limit import RateLimit
    from lapel.foundation.database.connection import Connection


@dataclass(frozen=True, slots=True)
class Found:
    """The holder of a token, and when the token expires (None: never, or its kind is not cached).

    With `every_scope` the holder gets every scope that the slices declare.
    """

    actor: Actor
    expires_at: datetime | None = None
    every_scope: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKind:
    """One kind of token. `name` is also the `kind` of the actors that hold such a token.

    `find(connection, hashes, now)` looks up a token by its possible hashes. If it returns None, the answer is
    401 with the message `unknown`. `holder` names the holders in refusals. `scheme` and `description` are for
    the OpenAPI document.
    """

    name: ActorKind
    # foundation/telemetry.py removes tokens from the log by these prefixes. A new prefix belongs there too.
    prefixes: tuple[str, ...]
    find: Callable[[Connection, list[bytes], datetime], Awaitable[Found | None]]
    unknown: str
    holder: str
    scheme: str
    description: str
    # Each process caches the result of `find` for a few seconds; see `key_cache.py`.
    cached: bool = False
    # A DirectHandler may authenticate the holder in its own statement.
    direct: bool = False
    # Each holder has a rate limit of its own, this one, instead of its project's limits.
    bucket: RateLimit | None = None
    # The parameter of paths in which a holder may write `me`.
    me: str | None = None


class HolderRow(Protocol):
    """The columns about a token's holder that the row of every look-up has."""

    @property
    def id(self) -> str:
        """The holder's id."""
        ...

    @property
    def world_id(self) -> int:
        """The number of the holder's world."""
        ...

    @property
    def project_id(self) -> str:
        """The project of the world."""
        ...

    @property
    def mode(self) -> Mode:
        """The mode of the world."""
        ...


def actor_of(row: HolderRow, kind: ActorKind, **more: Any) -> Actor:  # noqa: ANN401 - Actor's own fields
    """The actor of a look-up's row."""
    return Actor(
        kind=kind, id=row.id, world_id=row.world_id, project_id=row.project_id, mode=row.mode, **more
    )
