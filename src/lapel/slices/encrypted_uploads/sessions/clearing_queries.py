"""The SQL that finds staged objects which nothing needs any more, and of links to them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows, fetch_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection

# A session that has accepted a manifest needs its object until the publication has ended. One that is
# `staging` is in this list after its time and a day, when no manifest can be accepted any more.
# Index: encrypted_upload_sessions_staged.
FIND_DUE = """
SELECT s.world_id, s.id, s.staging_key FROM encrypted_upload_sessions s
WHERE s.clear_at <= $1 AND s.state IN ('published', 'failed', 'cancelled', 'staging')
ORDER BY s.clear_at LIMIT $2
"""

# $4: for how long after the session's end a PUT that began before may still write the object. The object is
# deleted again after this time. If clocks differ by a day, the API may have accepted a manifest meanwhile.
# That session keeps its key, because its publication says that the object is gone.
SET_CLEARED = """
UPDATE encrypted_upload_sessions s
SET clear_at = CASE WHEN s.expires_at + $4::interval > $3 THEN s.expires_at + $4 END,
    sealed_recipient_key = NULL
FROM unnest($1::bigint[], $2::text[]) AS cleared (world_id, id)
WHERE s.world_id = cleared.world_id AND s.id = cleared.id AND s.state NOT IN ('ready', 'processing')
"""

# The end of the last upload URL of each recording's sessions.
LAST_ENDS = """
SELECT s.recording_id, max(s.expires_at) AS expires_at FROM encrypted_upload_sessions s
WHERE s.world_id = $1 AND s.recording_id = ANY($2::text[]) GROUP BY s.recording_id
"""

# Objects by project and session whose row still leads to their deletion, or to their publication.
LOOKED_AFTER = """
SELECT s.staging_key FROM unnest($1::text[], $2::text[]) AS object (project_id, session_id)
JOIN worlds w ON w.project_id = object.project_id
JOIN encrypted_upload_sessions s ON s.world_id = w.id AND s.id = object.session_id
WHERE s.clear_at IS NOT NULL OR s.state IN ('ready', 'processing')
"""


class ClearableRow(msgspec.Struct, frozen=True):
    """A session whose staged object can be deleted."""

    world_id: int
    id: str
    staging_key: str


class LastEndRow(msgspec.Struct, frozen=True):
    """A recording, and the time at which the last upload URL of its sessions ends."""

    recording_id: str
    expires_at: datetime


async def find_due(connection: Connection, now: datetime, limit: int) -> list[ClearableRow]:
    """`limit` sessions at most whose staged objects can be deleted. Locks nothing: see `Clearing.run_due`."""
    return await fetch_rows(connection, ClearableRow, FIND_DUE, now, limit)


async def set_cleared(
    connection: Connection, rows: Sequence[ClearableRow], now: datetime, grace: timedelta
) -> None:
    """Store that the objects are deleted; where a late PUT may still end, they are deleted once more."""
    worlds, ids = [row.world_id for row in rows], [row.id for row in rows]
    await connection.execute(SET_CLEARED, worlds, ids, now, grace)


async def last_ends(connection: Connection, world_id: int, recording_ids: list[str]) -> list[LastEndRow]:
    """The end of the last upload URL, of those recordings that have sessions."""
    return await fetch_rows(connection, LastEndRow, LAST_ENDS, world_id, recording_ids)


async def find_looked_after(
    connection: Connection, project_ids: list[str], session_ids: list[str]
) -> list[str]:
    """The names of those objects that the publication or a later clearing deletes."""
    return await fetch_values(connection, str, LOOKED_AFTER, project_ids, session_ids)
