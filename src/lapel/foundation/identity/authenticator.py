"""From `Authorization: Bearer …` (RFC 6750, section 2.1) to an actor.

Tokens of a cached kind (keys) are cached in the process (`key_cache.py` keeps the cache correct); other
tokens are read from the database each time. Requests that come at the same time share a statement
(`foundation/database/together.py`).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.errors import Unauthorized
from lapel.foundation.database.pool import ConnectionBroken
from lapel.foundation.database.together import Together
from lapel.foundation.identity.token_kinds import LookUp
from lapel.foundation.identity.tokens import token_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.pool import Database
    from lapel.foundation.identity.key_cache import Revocations
    from lapel.foundation.identity.token_kinds import Found, TokenKind
    from lapel.foundation.identity.tokens import TokenHasher


_GOOD = "Give a valid token: `Authorization: Bearer <token>`."


class Authenticator:
    """Finds the actor of a token of any kind."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        hasher: TokenHasher,
        revocations: Revocations,
        used: Callable[[int, str, datetime], None],
        *,
        kinds: Iterable[TokenKind],
        scopes: Iterable[str],
    ) -> None:
        """`used(world id, id, now)` is called for each use of a token of a cached kind; it must not block.
        `scopes`: every scope that the slices declare."""
        self._database = database
        self._clock = clock
        self._hasher = hasher
        self._revocations = revocations
        self._cache = revocations.cache
        self._used = used
        self._scopes = frozenset(scopes)
        self.kinds = {each.name: each for each in kinds}
        self._by_prefix = {prefix: each for each in self.kinds.values() for prefix in each.prefixes}
        self._look_ups = {
            name: Together(database, partial(self._find, each)) for name, each in self.kinds.items()
        }

    async def __call__(self, header: bytes | None) -> Actor:
        """The actor of an Authorization header.

        Raises Unauthorized when the token is missing, malformed, unknown, revoked or expired, and Unavailable
        when the database is unavailable.
        """
        if header is None:
            raise Unauthorized("The request has no `Authorization` header. " + _GOOD)
        cached = self._cache.get(header)
        if cached is None:
            token = _bearer(header)
            if token is None:
                raise self._of_another_scheme(header)
            usual = _usual_header(token)
            cached = None if header == usual else self._cache.get(usual)
            if cached is None:
                return await self._read(token)
        self._used(cached.world_id, cached.id, self._clock.now())
        return cached

    def direct_token(self, header: bytes | None) -> bytes | None:
        """The hash of a well-formed token of a direct kind, without a look-up; None for any other header."""
        token = _bearer(header)
        kind = None if token is None else self._by_prefix.get(token_prefix(token) or "")
        return None if token is None or kind is None or not kind.direct else self._hasher.hash(token)

    def _of_another_scheme(self, header: bytes) -> Unauthorized:
        """The refusal of a header that is no `Bearer`. Never repeats it: it may be a secret."""
        scheme, _, rest = header.decode("latin-1").partition(" ")
        if not rest.strip() and token_prefix(scheme) in self._by_prefix:
            return Unauthorized("The token stands without its scheme. " + _GOOD)
        if scheme.lower() == "basic":
            return Unauthorized("`Authorization: Basic` is not taken. " + _GOOD)
        return Unauthorized("The `Authorization` header is not of the scheme `Bearer`. " + _GOOD)

    async def _read(self, token: str) -> Actor:
        kind = self._by_prefix.get(token_prefix(token) or "")
        if kind is None:
            raise Unauthorized("This token is malformed. Check that it was copied whole.")
        try:
            return await self._look_up(kind, token)
        except ConnectionBroken:  # a look-up may be repeated, and other connections may work
            return await self._look_up(kind, token)

    async def _look_up(self, kind: TokenKind, token: str) -> Actor:
        generation, read_at, now = self._revocations.generation, time.monotonic(), self._clock.now()
        look_up = LookUp(self._hasher.candidates(token), now)
        found = await self._look_ups[kind.name].ask(look_up)
        if found is not None and await found.begin_use(self._database):
            found = await self._look_ups[kind.name].ask(look_up)
        if found is None:
            raise Unauthorized(kind.unknown)
        actor = found.actor
        if found.every_scope:
            actor = msgspec.structs.replace(actor, scopes=self._scopes)
        if kind.cached:
            if generation == self._revocations.generation:
                lives = float("inf") if found.expires_at is None else (found.expires_at - now).total_seconds()
                self._cache.put(_usual_header(token), actor, read_at, lives)
            self._used(actor.world_id, actor.id, now)
        return actor

    async def _find(
        self, kind: TokenKind, connection: Connection, asked: Sequence[LookUp]
    ) -> Sequence[Found | None]:
        """Look up tokens of one kind for requests that wait at the same time."""
        # A token may expire while its request waits for a connection, so the time is read again. For a cached
        # kind the first time stays, because the cache counts from `read_at`.
        if not kind.cached:
            now = self._clock.now()
            asked = [LookUp(hashes, now) for hashes, _ in asked]
        return await kind.find(connection, asked)


def _usual_header(token: str) -> bytes:
    """The form of the header in which a key is cached."""
    return b"Bearer " + token.encode()


def _bearer(header: bytes | None) -> str | None:
    """The token of an `Authorization: Bearer` header; None for any other header."""
    if header is None:
        return None
    scheme, _, credentials = header.partition(b" ")
    if scheme.lower() != b"bearer" or not credentials.isascii():
        return None
    return credentials.decode("ascii").strip(" ")
