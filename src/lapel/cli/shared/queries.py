"""SQL of the commands that read the whole installation: backup, restore and doctor.

These commands act for the operator, not for one project, and their SQL only reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from lapel.foundation.queue.queue_queries import HELD_JOBS, WAITING_JOBS, WORKERS
from lapel.slices.firmware.queries import PROMISED_FILES
from lapel.slices.recordings.reconcile.reconcile_queries import FOUND_FINDINGS
from lapel.slices.recordings.records.record_queries import PROMISED_MEDIA

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

# Every object that the database promises (completed uploads, firmware), in the order of the objects' names.
PROMISED = f"{PROMISED_MEDIA} UNION ALL {PROMISED_FILES} ORDER BY object_key"
STILL_PROMISED = f"""
SELECT true FROM ({PROMISED_MEDIA} UNION ALL {PROMISED_FILES}) promised
WHERE world_id = $1 AND object_key = $2
"""
FIND_PROMISED = f"""
SELECT * FROM ({PROMISED_MEDIA} UNION ALL {PROMISED_FILES}) promised WHERE object_key = ANY($1::text[])
"""
COUNT_PROMISED = f"SELECT count(*) FROM ({PROMISED_MEDIA} UNION ALL {PROMISED_FILES}) promised"
SNAPSHOT = "SELECT pg_export_snapshot()"
SCHEMA = "SELECT version_num FROM public.alembic_version"
IS_EMPTY = "SELECT to_regclass('public.alembic_version') IS NULL"
VECTOR = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
NOW = "SELECT clock_timestamp()"
FORGETS = """
SELECT current_setting('fsync') = 'off' OR current_setting('synchronous_commit') = 'off'
"""
# Only keys and tokens that are still valid. A NULL (the key was made before secrets were recorded) does not
# count as another secret.
MADE_UNDER_OTHERS = """
SELECT 'API keys', count(*) FILTER (WHERE secret_id <> ALL($1::text[])),
    count(*) FILTER (WHERE secret_id = ANY($1::text[])) FROM api_keys
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
UNION ALL
SELECT 'device tokens', count(*) FILTER (WHERE secret_id <> ALL($1::text[])),
    count(*) FILTER (WHERE secret_id = ANY($1::text[])) FROM device_tokens
UNION ALL
SELECT 'end-user tokens', count(*) FILTER (WHERE secret_id <> ALL($1::text[])),
    count(*) FILTER (WHERE secret_id = ANY($1::text[])) FROM end_user_tokens
"""


class PromisedObject(NamedTuple):
    """An object that the store must hold: size in bytes, SHA-256 in hexadecimal, content type."""

    world_id: int
    key: str
    size: int
    sha256: str
    content_type: str


class MadeUnder(NamedTuple):
    """Keys or tokens of one kind, counted by the secret that they were made under."""

    kind: str
    others: int
    loaded: int


async def promised(connection: Connection) -> AsyncIterator[PromisedObject]:
    """Every promised object, read with a cursor in the connection's transaction."""
    async for row in connection.cursor(PROMISED, prefetch=1000):
        yield PromisedObject(*row)


async def still_promised(connection: Connection, world_id: int, key: str) -> bool:
    """Whether the database still promises the object. It does not if the object was deleted meanwhile."""
    return bool(await connection.fetchval(STILL_PROMISED, world_id, key))


async def find_promised(connection: Connection, keys: list[str]) -> list[PromisedObject]:
    """Those of these objects that the database promises."""
    return [PromisedObject(*row) for row in await connection.fetch(FIND_PROMISED, keys)]


async def count_promised(connection: Connection) -> int:
    """How many objects the database promises."""
    return int(await connection.fetchval(COUNT_PROMISED))


async def export_snapshot(connection: Connection) -> str:
    """Name of the transaction's snapshot. With this name, pg_dump sees the same rows."""
    return str(await connection.fetchval(SNAPSHOT))


async def schema(connection: Connection) -> str:
    """Revision of the newest migration in the database."""
    return str(await connection.fetchval(SCHEMA))


async def is_empty(connection: Connection) -> bool:
    """Whether Lapel was never installed in the database."""
    return bool(await connection.fetchval(IS_EMPTY))


async def vector_version(connection: Connection) -> str | None:
    """Version of pgvector in the database; None if pgvector is not installed there."""
    return await connection.fetchval(VECTOR)


async def database_now(connection: Connection) -> datetime:
    """The database server's clock."""
    return await connection.fetchval(NOW)


async def forgets(connection: Connection) -> bool:
    """Whether a power cut could lose committed transactions (fsync or synchronous_commit is off)."""
    return bool(await connection.fetchval(FORGETS))


async def workers_seen(connection: Connection) -> int:
    """How many workers were seen within the last 30 seconds."""
    return int(await connection.fetchval(WORKERS))


async def held_jobs(connection: Connection) -> list[tuple[str, int]]:
    """Kinds of held jobs (they failed and are not tried again), with the number of jobs of each kind."""
    return [(row[0], row[1]) for row in await connection.fetch(HELD_JOBS)]


async def overdue_jobs(connection: Connection, now: datetime) -> tuple[int, timedelta]:
    """How many due jobs wait, and how long the oldest of them has waited."""
    row = await connection.fetchrow(WAITING_JOBS, now)
    if row is None or row[1] is None:
        return 0, timedelta()
    return row[0], now - row[1]


async def made_under_others(connection: Connection, loaded: list[str]) -> list[MadeUnder]:
    """How many keys and tokens of each kind were made under `loaded` secrets, and how many under others."""
    return [MadeUnder(*row) for row in await connection.fetch(MADE_UNDER_OTHERS, loaded)]


async def findings(connection: Connection) -> list[tuple[str, int]]:
    """Findings of the reconciler so far, by kind."""
    return [(row[0], row[1]) for row in await connection.fetch(FOUND_FINDINGS)]
