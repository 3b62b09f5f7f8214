"""From `Authorization: Bearer …` (RFC 6750, section 2.1) to an actor.

Keys (`sk_`, `rk_`) are cached in the process (`key_cache.py` keeps the cache correct); device, upload and
end-user tokens are read from the database each time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lapel.foundation.core.actors import Actor, ActorKind
from lapel.foundation.core.errors import Unauthorized
from lapel.foundation.core.scopes import SCOPES, granted
from lapel.foundation.identity.tokens import TokenHasher, token_prefix

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import asyncpg

    from lapel.foundation.core.clock import Clock
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.pool import Database
    from lapel.foundation.identity.key_cache import Revocations

# These statements take no world, because the token determines it.
FIND_KEY = """
SELECT k.world_id, k.id, k.kind, k.scopes, k.end_user_id, k.expires_at, w.project_id, w.mode
FROM api_keys k JOIN worlds w ON w.id = k.world_id
WHERE k.secret_hash = ANY($1::bytea[]) AND k.revoked_at IS NULL
  AND (k.expires_at IS NULL OR k.expires_at > $2)
"""

FIND_DEVICE = """
SELECT t.world_id, t.device_id AS id, t.state, t.token_hash, t.binding_generation, d.end_user_id,
       w.project_id, w.mode
FROM device_tokens t
JOIN devices d ON d.world_id = t.world_id AND d.id = t.device_id
JOIN worlds w ON w.id = t.world_id
WHERE t.token_hash = ANY($1::bytea[]) AND t.binding_generation = d.binding_generation AND d.deleted_at IS NULL
"""

# The first use of a fresh token makes it the current one and deletes its predecessor. The device's row is
# locked meanwhile, because a refresh with the predecessor may replace the fresh token at the same moment.
HOLD_DEVICE = "SELECT 1 FROM devices WHERE world_id = $1 AND id = $2 FOR NO KEY UPDATE"
END_REFRESHING = """
DELETE FROM device_tokens WHERE world_id = $1 AND device_id = $2 AND state = 'refreshing'
  AND EXISTS (SELECT 1 FROM device_tokens f WHERE f.token_hash = $3 AND f.state = 'fresh')
"""
PROMOTE_FRESH = "UPDATE device_tokens SET state = 'current' WHERE token_hash = $1 AND state = 'fresh'"

FIND_UPLOAD = """
SELECT t.world_id, t.recording_id AS id, t.expires_at, t.issued_by, w.project_id, w.mode
FROM upload_tokens t
JOIN worlds w ON w.id = t.world_id
LEFT JOIN api_keys k ON k.world_id = t.world_id AND k.id = t.issued_by
WHERE t.token_hash = ANY($1::bytea[]) AND t.expires_at > $2 AND k.issued_revoked_at IS NULL AND (
    SELECT e.deleted_at IS NULL FROM recordings r
    JOIN end_users e ON e.world_id = r.world_id AND e.id = r.end_user_id
    WHERE r.world_id = t.world_id AND r.id = t.recording_id)
"""

FIND_END_USER = """
SELECT t.world_id, t.end_user_id AS id, w.project_id, w.mode
FROM end_user_tokens t
JOIN end_users e ON e.world_id = t.world_id AND e.id = t.end_user_id
JOIN worlds w ON w.id = t.world_id
LEFT JOIN api_keys k ON k.world_id = t.world_id AND k.id = t.issued_by
WHERE t.token_hash = ANY($1::bytea[]) AND e.deleted_at IS NULL
  AND (t.expires_at IS NULL OR t.expires_at > $2) AND k.issued_revoked_at IS NULL
"""


class Authenticator:
    """Finds the actor of a token of any kind."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        hasher: TokenHasher,
        revocations: Revocations,
        used: Callable[[int, str, datetime], None],
    ) -> None:
        """`used(world id, key id, now)` is called for each use of a key; it must not block."""
        self._database = database
        self._clock = clock
        self._hasher = hasher
        self._revocations = revocations
        self._cache = revocations.cache
        self._used = used

    async def __call__(self, header: bytes | None) -> Actor:
        """The actor of an Authorization header.

        Raises Unauthorized when there is no token, or it is malformed, unknown, revoked or expired, and
        Unavailable when the database is unavailable.
        """
        token = _bearer(header)
        if token is None:
            raise Unauthorized
        cached = self._cache.get(self._hasher.hash(token))
        if cached is not None:
            self._used(cached.world_id, cached.id, self._clock.now())
            return cached
        return await self._read(token)

    def device_token(self, header: bytes | None) -> bytes | None:
        """The hash of a well-formed device token, without a look-up; None for any other header."""
        token = _bearer(header)
        return self._hasher.hash(token) if token is not None and token_prefix(token) == "dtok" else None

    async def _read(self, token: str) -> Actor:
        match token_prefix(token):
            case None:
                raise Unauthorized("This token is malformed. Check that you copied it completely.")
            case "dtok":
                return await self._device(token)
            case "up":
                return await self._upload(token)
            case "eut":
                return await self._end_user(token)
            case _:
                return await self._key(token)

    async def _key(self, token: str) -> Actor:
        generation, read_at, now = self._revocations.generation, time.monotonic(), self._clock.now()
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(FIND_KEY, self._hasher.candidates(token), now)
        if row is None:
            raise Unauthorized("This key is unknown, revoked or expired.")
        scopes = granted(list(SCOPES if row["kind"] == "secret" else row["scopes"]))
        actor = _actor(row, "key", scopes=scopes, end_user_id=row["end_user_id"])
        if generation == self._revocations.generation:
            expires_at: datetime | None = row["expires_at"]
            lives = float("inf") if expires_at is None else (expires_at - now).total_seconds()
            self._cache.put(self._hasher.hash(token), actor, read_at, lives)
        self._used(actor.world_id, actor.id, now)
        return actor

    async def _device(self, token: str) -> Actor:
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(FIND_DEVICE, self._hasher.candidates(token))
            if row is not None and row["state"] == "fresh":
                await _promote(connection, row)
                row = await connection.fetchrow(FIND_DEVICE, [row["token_hash"]])
        if row is None:
            raise Unauthorized("This device token is unknown or was revoked. Bind the device again.")
        return _actor(
            row,
            "device",
            end_user_id=row["end_user_id"],
            binding_generation=row["binding_generation"],
            refresh_only=row["state"] == "refreshing",
            token_hash=row["token_hash"],
        )

    async def _upload(self, token: str) -> Actor:
        row = await self._issued(FIND_UPLOAD, token)
        return _actor(row, "upload", expires_at=row["expires_at"], issued_by=row["issued_by"])

    async def _end_user(self, token: str) -> Actor:
        row = await self._issued(FIND_END_USER, token)
        return _actor(row, "end_user", end_user_id=row["id"])

    async def _issued(self, sql: str, token: str) -> asyncpg.Record:
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(sql, self._hasher.candidates(token), self._clock.now())
        if row is None:
            raise Unauthorized("This token is unknown, revoked or expired.")
        return row


def _bearer(header: bytes | None) -> str | None:
    """The token of an `Authorization: Bearer` header; None for any other header."""
    if header is None:
        return None
    scheme, _, credentials = header.partition(b" ")
    if scheme.lower() != b"bearer" or not credentials.isascii():
        return None
    return credentials.decode("ascii").strip(" ")


async def _promote(connection: Connection, row: asyncpg.Record) -> None:
    async with connection.transaction():
        await connection.execute(HOLD_DEVICE, row["world_id"], row["id"])
        await connection.execute(END_REFRESHING, row["world_id"], row["id"], row["token_hash"])
        await connection.execute(PROMOTE_FRESH, row["token_hash"])


def _actor(row: asyncpg.Record, kind: ActorKind, **more: Any) -> Actor:  # noqa: ANN401 - Actor's own fields
    return Actor(
        kind=kind,
        id=row["id"],
        world_id=row["world_id"],
        project_id=row["project_id"],
        mode=row["mode"],
        **more,
    )
