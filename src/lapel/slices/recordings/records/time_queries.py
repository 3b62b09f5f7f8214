"""SQL of recordings for slices that ask for those of a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_only_value, fetch_values
from lapel.slices.recordings.access import PRESENT

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection


class RecordedBetween(msgspec.Struct, frozen=True, kw_only=True):
    """Uploaded recordings of an end user. `recording_ids`: only of these; None: of all. `after` (inclusive)
    and `before` (exclusive) limit their times: `recorded_at`, or `created_at` without one."""

    world_id: int
    end_user_id: str
    recording_ids: list[str] | None = None
    after: datetime | None = None
    before: datetime | None = None


_TIME = "coalesce(r.recorded_at, r.created_at)"
_BETWEEN = f"""
FROM recordings r WHERE r.world_id = $1 AND r.end_user_id = $2 AND r.status = 'uploaded' AND {PRESENT}
    AND ($3::text[] IS NULL OR r.id = ANY($3))
    AND ($4::timestamptz IS NULL OR {_TIME} >= $4) AND ($5::timestamptz IS NULL OR {_TIME} < $5)
"""
COUNT_RECORDED = f"SELECT count(*) {_BETWEEN}"
NEWEST_RECORDED = f"""
SELECT r.id {_BETWEEN} AND r.transcription_id IS NOT NULL ORDER BY {_TIME} DESC, r.id DESC LIMIT $6
"""
OLDEST_RECORDED = f"""
SELECT r.id {_BETWEEN} AND r.transcription_id IS NOT NULL ORDER BY {_TIME}, r.id LIMIT $6
"""


async def count_recorded(connection: Connection, wanted: RecordedBetween) -> int:
    """How many there are."""
    return await fetch_only_value(connection, int, COUNT_RECORDED, *_parameters(wanted))


async def find_recorded(
    connection: Connection, wanted: RecordedBetween, *, limit: int, oldest: bool = False
) -> list[str]:
    """The ids of those with a transcript, at most `limit`: the newest first, or the oldest first."""
    if oldest:
        return await fetch_values(connection, str, OLDEST_RECORDED, *_parameters(wanted), limit)
    return await fetch_values(connection, str, NEWEST_RECORDED, *_parameters(wanted), limit)


def _parameters(wanted: RecordedBetween) -> tuple[object, ...]:
    return wanted.world_id, wanted.end_user_id, wanted.recording_ids, wanted.after, wanted.before
