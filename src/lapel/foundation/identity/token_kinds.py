"""A kind of token, as the slice that issues it declares it: its prefixes, its look-up, and its names."""

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
    """The holder of a token, and when the token expires (None: never, or nobody asks).

    With `every_scope` the holder gets every scope that the slices declare.
    """

    actor: Actor
    expires_at: datetime | None = None
    every_scope: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKind:
    """One kind of token. `name` is the kind of its holders.

    `find(connection, hashes, now)` looks a token up by any of its hashes; None: 401 with the message
    `unknown`. `holder` names the holders in refusals; the OpenAPI document has `scheme` and `description`.
    """

    name: ActorKind
    prefixes: tuple[str, ...]
    find: Callable[[Connection, list[bytes], datetime], Awaitable[Found | None]]
    unknown: str
    holder: str
    scheme: str
    description: str
    # What was found is kept for a few seconds in each process; see `key_cache.py`.
    cached: bool = False
    # A DirectHandler may authenticate the holder in its own statement.
    direct: bool = False
    # Each holder has this rate limit to itself, in place of its project's.
    bucket: RateLimit | None = None
    # The parameter of paths in which a holder may write `me`.
    me: str | None = None


class HolderRow(Protocol):
    """What the row of every look-up tells of the token's holder."""

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
