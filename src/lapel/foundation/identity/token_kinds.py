"""Kinds of tokens. The slice that issues a kind declares its prefixes, its look-up and its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lapel.foundation.core.actors import Actor, Mode
from lapel.foundation.database.rows import FoundRow
from lapel.foundation.database.turns.world_shares import WORLD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import ActorKind
    from lapel.foundation.core.rate_limit import RateLimit
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.pool import Database


# For a statement that looks up several tokens: a row for each possible hash of each token. $1 to $3 come from
# `arrays_of`. A token must be valid at `moment`. The sub-selects hide the lengths of the arrays from the
# planner, which would otherwise plan each execution anew.
TOKENS = """unnest((SELECT $1::bytea[]), (SELECT $2::integer[]), (SELECT $3::timestamptz[]))
    AS asked (token_hash, place, moment)"""


class LookUp(NamedTuple):
    """The question for one token: its possible hashes, and the moment at which it must be valid."""

    hashes: list[bytes]
    moment: datetime


class HolderRow(FoundRow, frozen=True):
    """A token that was found. `id` is its holder's id. `place` is the question, counted from 1."""

    world_id: int
    id: str
    project_id: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Found:
    """The holder of a token, and when the token expires (None: never, or its kind is not cached).

    With `every_scope` the holder gets every scope that the slices declare. `first_use` is what the first use
    of the token changes; afterwards the token is looked up again.
    """

    actor: Actor
    expires_at: datetime | None = None
    every_scope: bool = False
    first_use: Callable[[Connection], Awaitable[None]] | None = None

    async def begin_use(self, database: Database) -> bool:
        """Make what the first use of the token changes; False if this is not its first use.

        While it waits for the holder's row, it counts for the share of the holder's world.
        """
        if self.first_use is None:
            return False
        WORLD.set(self.actor.world_id)
        async with database.acquire() as connection:
            await self.first_use(connection)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKind:
    """One kind of token. `name` is also the `kind` of the actors that hold such a token.

    `find(connection, asked)` looks up several tokens, in one statement that waits for no lock of a row. For a
    token for which it finds None, the answer is 401 with the message `unknown`. `holder` names the holders in
    refusals. `scheme` and `description` are for the OpenAPI document.
    """

    name: ActorKind
    # foundation/telemetry.py removes tokens from the log by these prefixes. A new prefix belongs there too.
    prefixes: tuple[str, ...]
    find: Callable[[Connection, Sequence[LookUp]], Awaitable[Sequence[Found | None]]]
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


def arrays_of(asked: Sequence[LookUp]) -> tuple[list[bytes], list[int], list[datetime]]:
    """The parameters $1 to $3 of `TOKENS`."""
    rows = [
        (token_hash, place, moment)
        for place, (hashes, moment) in enumerate(asked, 1)
        for token_hash in hashes
    ]
    hashes, places, moments = map(list, zip(*rows, strict=True))
    return hashes, places, moments


def actor_of(row: HolderRow, kind: ActorKind, **more: Any) -> Actor:  # noqa: ANN401 - Actor's own fields
    """The actor of a look-up's row."""
    return Actor(
        kind=kind, id=row.id, world_id=row.world_id, project_id=row.project_id, mode=row.mode, **more
    )
