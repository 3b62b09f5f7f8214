"""All SQL of the reconciler. The reconciler works on all worlds of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.pool import affected
from lapel.foundation.database.rows import (
    fetch_only_value,
    fetch_row,
    fetch_rows,
    fetch_value,
    fetch_values,
)
from lapel.slices.recordings.reconcile.rows import ExaminedRow, ServingRow, StagedRow, UnfinishedRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

FIND_UNFINISHED = """
SELECT world_id, recording_id, id, status FROM media
WHERE status IN ('pending', 'verifying') AND reconcile_at <= $1
ORDER BY reconcile_at LIMIT $2
"""

READ_STATUSES = """
SELECT id, status, last_url_expires_at FROM media
WHERE world_id = $1 AND recording_id = $2 AND id = ANY($3::text[])
"""

POSTPONE = """
UPDATE media SET reconcile_at = $4
WHERE world_id = $1 AND recording_id = $2 AND id = ANY($3::text[]) AND status IN ('pending', 'verifying')
"""

FIND_VERIFYING = """
SELECT max(a.id) FROM upload_attempts a JOIN media m ON m.world_id = a.world_id AND m.id = a.media_id
WHERE m.world_id = $1 AND m.recording_id = $2 AND m.status = 'verifying' AND a.state = 'verifying'
"""

# A recording fails when all its media have failed.
ALL_FAILED = """
SELECT NOT EXISTS (SELECT 1 FROM media WHERE world_id = $1 AND recording_id = $2 AND status <> 'failed')
"""

# The rows to compare with one page of the store's listing, in the same order: by the bytes of the key.
ROWS_BETWEEN = """
SELECT object_key FROM media
WHERE object_key > $1 AND ($2::text IS NULL OR object_key <= $2) ORDER BY object_key LIMIT $3
"""

ROW_OF_OBJECT = "SELECT world_id, recording_id, id FROM media WHERE object_key = $1"

# A completion holds the same lock while it accepts the copy of an object.
LOCK_BY_PROJECT = """
SELECT r.id FROM worlds w JOIN recordings r ON r.world_id = w.id
WHERE w.project_id = $1 AND r.id = $2 FOR NO KEY UPDATE OF r
"""

READ_STAGED = """
SELECT a.staging_key, a.state, a.url_expires_at, m.status
FROM upload_attempts a JOIN media m ON m.world_id = a.world_id AND m.id = a.media_id
WHERE a.staging_key = ANY($1::text[])
"""

# The rows to delete are an array. With a join, the statement would read the whole table for each batch.
PRUNE_ATTEMPTS = """
DELETE FROM upload_attempts WHERE ctid = ANY(ARRAY(
    SELECT a.ctid
    FROM upload_attempts a JOIN media m ON m.world_id = a.world_id AND m.id = a.media_id
    WHERE a.url_expires_at < $1 AND a.state <> 'verifying' AND m.status IN ('uploaded', 'failed')
    ORDER BY a.url_expires_at LIMIT $2))
"""

PRUNE_TOKENS = """
DELETE FROM upload_tokens WHERE token_hash = ANY(ARRAY(
    SELECT token_hash FROM upload_tokens WHERE expires_at < $1 ORDER BY expires_at LIMIT $2))
"""

READ_WALK = "SELECT position FROM walks WHERE name = $1"
SAVE_WALK = """
INSERT INTO walks (name, position, moved_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET position = excluded.position, moved_at = excluded.moved_at
"""

ADD_FINDINGS = """
INSERT INTO findings (kind, found, last_found_at) VALUES ($1, $2, $3)
ON CONFLICT (kind) DO UPDATE
SET found = findings.found + excluded.found, last_found_at = excluded.last_found_at
"""

FINDINGS = "SELECT kind, found FROM findings"
FOUND_FINDINGS = f"{FINDINGS} WHERE found > 0 ORDER BY kind"


async def find_unfinished(connection: Connection, now: datetime, limit: int) -> list[UnfinishedRow]:
    """Media whose `reconcile_at` has passed, at most `limit`."""
    return await fetch_rows(connection, UnfinishedRow, FIND_UNFINISHED, now, limit)


async def read_statuses(
    connection: Connection, world_id: int, recording_id: str, media_ids: list[str]
) -> list[ExaminedRow]:
    """Some media of a recording."""
    return await fetch_rows(connection, ExaminedRow, READ_STATUSES, world_id, recording_id, media_ids)


async def postpone(
    connection: Connection, world_id: int, recording_id: str, media_ids: list[str], until: datetime
) -> None:
    """Set the time at which the reconciler looks at these media again, if they are still unfinished."""
    await connection.execute(POSTPONE, world_id, recording_id, media_ids, until)


async def find_verifying(connection: Connection, world_id: int, recording_id: str) -> str | None:
    """The id of the newest attempt that is being verified. The verification's job has this id as its name."""
    return await fetch_value(connection, str, FIND_VERIFYING, world_id, recording_id)


async def all_failed(connection: Connection, world_id: int, recording_id: str) -> bool:
    """Whether all media of the recording have failed."""
    return await fetch_only_value(connection, bool, ALL_FAILED, world_id, recording_id)


async def rows_between(connection: Connection, after: str, until: str | None, limit: int) -> list[str]:
    """The object names in the rows of media, in order: after `after`, up to `until` (None: to the end)."""
    return await fetch_values(connection, str, ROWS_BETWEEN, after, until, limit)


async def row_of_object(connection: Connection, key: str) -> ServingRow | None:
    """The media that serves this key."""
    return await fetch_row(connection, ServingRow, ROW_OF_OBJECT, key)


async def lock_by_project(connection: Connection, project_id: str, recording_id: str) -> None:
    """Lock a recording, in either world of the project, until the transaction ends."""
    await connection.execute(LOCK_BY_PROJECT, project_id, recording_id)


async def read_staged(connection: Connection, staging_keys: list[str]) -> dict[str, StagedRow]:
    """The attempts of staged objects, by staging key."""
    rows = await fetch_rows(connection, StagedRow, READ_STAGED, staging_keys)
    return {row.staging_key: row for row in rows}


async def prune_attempts(connection: Connection, ended_before: datetime, limit: int) -> int:
    """Drop at most `limit` attempts of finished media. Returns their number."""
    return affected(await connection.execute(PRUNE_ATTEMPTS, ended_before, limit))


async def prune_tokens(connection: Connection, now: datetime, limit: int) -> int:
    """Drop at most `limit` expired upload tokens. Returns their number."""
    return affected(await connection.execute(PRUNE_TOKENS, now, limit))


async def read_walk(connection: Connection, name: str) -> str:
    """The last key that a walk has seen. It is the empty string at the beginning of the walk."""
    return await fetch_value(connection, str, READ_WALK, name) or ""


async def save_walk(connection: Connection, name: str, position: str, now: datetime) -> None:
    """Store the last key that a walk has seen."""
    await connection.execute(SAVE_WALK, name, position, now)


async def add_findings(connection: Connection, found: Sequence[tuple[str, int]], now: datetime) -> None:
    """Add (kind, number) pairs to the totals."""
    for kind, number in found:
        await connection.execute(ADD_FINDINGS, kind, number, now)
