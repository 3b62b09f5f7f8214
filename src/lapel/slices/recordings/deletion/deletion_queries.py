"""All SQL of deleting recordings."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows, fetch_value, fetch_values
from lapel.slices.erasure.service import held
from lapel.slices.recordings.access import PRESENT
from lapel.slices.recordings.records.record_queries import REACHED, reached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach


class DeletionRow(msgspec.Struct, frozen=True):
    """A locked recording, and the end of its last upload URL (None: it has no media).

    `held`: a legal hold keeps it.
    """

    id: str
    end_user_id: str
    created_at: datetime
    project_id: str
    last_url_expires_at: datetime | None
    held: bool


READ_END_USER = f"SELECT r.end_user_id FROM recordings r WHERE {REACHED}"

LOCK_ONE = f"SELECT r.id FROM recordings r WHERE {REACHED} FOR UPDATE"

LOCK_OF_END_USER = """
SELECT r.id FROM recordings r
WHERE r.world_id = $1 AND r.end_user_id = $2 AND r.deleted_at IS NULL AND (r.created_at, r.id) < ($4, $5)
ORDER BY r.created_at DESC, r.id DESC LIMIT $3
FOR UPDATE
"""

FIND_PRESENT = f"""
SELECT r.id FROM recordings r WHERE r.world_id = $1 AND r.id = ANY($2::text[]) AND {PRESENT}
"""

# For the operator's command, which knows only the id.
FIND_WORLD = f"""
SELECT w.id FROM worlds w JOIN recordings r ON r.world_id = w.id AND r.id = $1 WHERE {PRESENT}
"""

# The hidden recordings of an end user, or only the recording $5, in order of id.
LOCK_HIDDEN = """
SELECT r.id FROM recordings r
WHERE r.world_id = $1 AND r.end_user_id = $2 AND r.deleted_at IS NOT NULL AND r.id > $4
  AND ($5::text IS NULL OR r.id = $5)
ORDER BY r.id LIMIT $3
FOR UPDATE
"""

# Of a recording that is present or hidden.
FIND_END_USER = "SELECT end_user_id FROM recordings WHERE world_id = $1 AND id = $2"

# A statement of its own after the lock: it sees the URL of an upload-url request, and the hold, that
# committed before the lock.
READ_LOCKED = f"""
SELECT r.id, r.end_user_id, r.created_at, w.project_id, (
    SELECT max(m.last_url_expires_at) FROM media m WHERE m.world_id = r.world_id AND m.recording_id = r.id
) AS last_url_expires_at, {held("r")} AS held
FROM recordings r JOIN worlds w ON w.id = r.world_id
WHERE r.world_id = $1 AND r.id = ANY($2::text[])
"""

# The objects that download links serve.
FIND_SERVED = """
SELECT object_key FROM media WHERE world_id = $1 AND recording_id = $2 AND status = 'uploaded'
"""

# A statement of its own after the lock, too: it sees a hold that was placed before the lock.
FIND_NOT_HELD = f"""
SELECT r.id FROM recordings r WHERE r.world_id = $1 AND r.id = ANY($2::text[]) AND NOT {held("r")}
"""

INSERT_TOMBSTONES = """
INSERT INTO tombstones (world_id, id, created_at, deleted_at)
SELECT $1, gone.id, gone.created_at, $4
FROM unnest($2::text[], $3::timestamptz[]) AS gone (id, created_at)
"""

HIDE = "UPDATE recordings SET deleted_at = $3 WHERE world_id = $1 AND id = ANY($2::text[])"

# The reconciler has nothing to do for an upload that nobody may complete any more.
REST_MEDIA = """
UPDATE media SET reconcile_at = 'infinity'
WHERE world_id = $1 AND recording_id = ANY($2::text[]) AND status IN ('pending', 'verifying')
"""

# The foreign keys delete the media, attempts and upload tokens of these recordings.
DELETE_RECORDINGS = "DELETE FROM recordings WHERE world_id = $1 AND id = ANY($2::text[])"


async def find_present(connection: Connection, world_id: int, ids: Sequence[str]) -> list[str]:
    """Those of these recordings that are not deleted."""
    return await fetch_values(connection, str, FIND_PRESENT, world_id, list(ids))


async def find_world(connection: Connection, recording_id: str) -> int | None:
    """The world of a recording that is not deleted."""
    return await fetch_value(connection, int, FIND_WORLD, recording_id)


async def read_end_user(connection: Connection, at: Reach) -> str | None:
    """The end user of a recording. None when the caller does not reach the recording."""
    return await fetch_value(connection, str, READ_END_USER, *reached(at))


async def lock_one(connection: Connection, at: Reach) -> list[DeletionRow]:
    """Lock a recording. Returns a list with its row; the list is empty when the caller does not reach it."""
    locked = await fetch_value(connection, str, LOCK_ONE, *reached(at))
    return [] if locked is None else await read_locked(connection, at.world_id, [locked])


async def lock_of_end_user(
    connection: Connection, world_id: int, end_user_id: str, limit: int, before: tuple[datetime, str]
) -> list[DeletionRow]:
    """Lock the newest `limit` recordings of an end user that are older than `before` (created_at, id)."""
    locked = await fetch_values(connection, str, LOCK_OF_END_USER, world_id, end_user_id, limit, *before)
    return await read_locked(connection, world_id, locked)


async def lock_hidden(
    connection: Connection, world_id: int, end_user_id: str, limit: int, after: str, only: str | None
) -> list[DeletionRow]:
    """Lock the next `limit` hidden recordings of an end user after the id `after`. `only`: this recording."""
    locked = await fetch_values(connection, str, LOCK_HIDDEN, world_id, end_user_id, limit, after, only)
    return await read_locked(connection, world_id, locked)


async def find_end_user(connection: Connection, world_id: int, recording_id: str) -> str | None:
    """The end user of a recording, which may be hidden. None when the recording has no row."""
    return await fetch_value(connection, str, FIND_END_USER, world_id, recording_id)


async def hide(connection: Connection, world_id: int, ids: list[str], now: datetime) -> None:
    """Hide recordings that a legal hold keeps: they are deleted for every answer."""
    await connection.execute(HIDE, world_id, ids, now)
    await connection.execute(REST_MEDIA, world_id, ids)


async def find_not_held(connection: Connection, world_id: int, ids: list[str]) -> list[str]:
    """The recordings without a legal hold, among recordings that this transaction has locked."""
    return await fetch_values(connection, str, FIND_NOT_HELD, world_id, ids)


async def find_served(connection: Connection, world_id: int, recording_id: str) -> list[str]:
    """The names of the objects that download links to a recording's media serve."""
    return await fetch_values(connection, str, FIND_SERVED, world_id, recording_id)


async def read_locked(connection: Connection, world_id: int, ids: list[str]) -> list[DeletionRow]:
    """Recordings that this transaction has locked."""
    return await fetch_rows(connection, DeletionRow, READ_LOCKED, world_id, ids) if ids else []


async def insert_tombstones(
    connection: Connection, world_id: int, ids: list[str], created_at: list[datetime], now: datetime
) -> None:
    """Write the tombstones of deleted recordings."""
    await connection.execute(INSERT_TOMBSTONES, world_id, ids, created_at, now)


async def delete_recordings(connection: Connection, world_id: int, ids: list[str]) -> None:
    """Delete the recordings with their media, attempts and upload tokens."""
    await connection.execute(DELETE_RECORDINGS, world_id, ids)
