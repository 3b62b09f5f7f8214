"""SQL of recordings for slices that tell of them: whether a caller sees them, and what they are called."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows, fetch_values
from lapel.slices.recordings.access import PRESENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection


class MentionedRow(msgspec.Struct, frozen=True):
    """A recording as a reader knows it. `transcription_id`: of its current transcription."""

    id: str
    end_user_id: str
    name: str | None
    recorded_at: datetime
    transcription_id: str | None


def name_of_recording(row: str) -> str:
    """SQL for other slices: the name of the recording of a row; NULL without one.

    `row`: the alias of the row's table, which has the columns `world_id` and `recording_id`.
    """
    return f"""(
    SELECT r.name FROM recordings r WHERE r.world_id = {row}.world_id AND r.id = {row}.recording_id)"""


# $3: the end user whose recordings the caller may see; NULL: all.
FIND_MENTIONED = f"""
SELECT r.id, r.end_user_id, r.name, coalesce(r.recorded_at, r.created_at) AS recorded_at, r.transcription_id
FROM recordings r
WHERE r.world_id = $1 AND r.id = ANY($2::text[]) AND ($3::text IS NULL OR r.end_user_id = $3) AND {PRESENT}
"""
# A deletion locks the row for its update, so it comes before or after. In order of id, so that two
# transactions never wait for each other.
SHARE_MENTIONED = f"""
SELECT r.id FROM recordings r
WHERE r.world_id = $1 AND r.id = ANY($2::text[]) AND r.end_user_id = $3 AND {PRESENT}
ORDER BY r.id FOR KEY SHARE OF r
"""


async def find_mentioned(
    connection: Connection, world_id: int, recording_ids: Sequence[str], end_user_id: str | None
) -> list[MentionedRow]:
    """Those of these recordings that the caller may see. `end_user_id`: whose recordings; None: all."""
    return await fetch_rows(
        connection, MentionedRow, FIND_MENTIONED, world_id, list(recording_ids), end_user_id
    )


async def share_mentioned(
    connection: Connection, world_id: int, recording_ids: Sequence[str], end_user_id: str
) -> list[str]:
    """Keep recordings of an end user from being deleted until the transaction ends. Returns those that are
    not deleted yet."""
    return await fetch_values(connection, str, SHARE_MENTIONED, world_id, list(recording_ids), end_user_id)
