"""All SQL of the usage of a world: one index scan for each figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_row

if TYPE_CHECKING:
    from datetime import date

    from lapel.foundation.database.connection import Connection


class UsageRow(msgspec.Struct, frozen=True):
    """The figures of a world: counts, bytes, and milliseconds transcribed on a day."""

    end_users: int
    devices: int
    recordings: int
    media_bytes: int
    transcribed_ms: int


# A deleted end user's recordings are removed in batches; those that still have rows do not count.
USAGE = """
WITH going AS MATERIALIZED (
    SELECT r.id FROM erasures x JOIN recordings r ON r.world_id = $1 AND r.end_user_id = x.resource_id
    WHERE x.world_id = $1 AND x.resource_type = 'end_user' AND NOT x.entered
)
SELECT
    (SELECT count(*) FROM end_users e WHERE e.world_id = $1 AND e.deleted_at IS NULL) AS end_users,
    (SELECT count(*) FROM devices d WHERE d.world_id = $1 AND d.deleted_at IS NULL) AS devices,
    (SELECT count(*) FROM recordings r WHERE r.world_id = $1) - (SELECT count(*) FROM going) AS recordings,
    (SELECT coalesce(sum(m.file_size_bytes), 0)::bigint FROM media m
     WHERE m.world_id = $1 AND m.status = 'uploaded'
       AND NOT EXISTS (SELECT FROM going g WHERE g.id = m.recording_id)) AS media_bytes,
    (SELECT coalesce(sum(a.milliseconds), 0)::bigint FROM daily_audio a
     WHERE a.world_id = $1 AND a.day = $2) AS transcribed_ms
"""


async def usage(connection: Connection, world_id: int, day: date) -> UsageRow:
    """The figures of a world at one moment: counts, bytes, and milliseconds transcribed on `day` (UTC)."""
    return await fetch_only_row(connection, UsageRow, USAGE, world_id, day)
