"""SQL that reads completed transcripts for other slices."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value
from lapel.slices.recordings.service import titled_recording

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


class CompletedTranscription(msgspec.Struct, frozen=True):
    """A completed transcription and its recording. `is_current`: the recording shows this transcription."""

    recording_id: str
    language: str | None
    end_user_id: str
    device_id: str | None
    recorded_at: datetime | None
    is_current: bool


class CompletedPlace(msgspec.Struct, frozen=True):
    """A completed transcription in the walk over all worlds."""

    world_id: int
    id: str
    recording_id: str


# $3: whether words are needed. Rows from before migration 0020 have only segments with words.
READ_SEGMENTS = """
SELECT CASE WHEN $3 THEN t.segments ELSE coalesce(t.segments_plain, t.segments) END
FROM transcriptions t WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'completed'
"""

# NULL: of any end user.
READ_COMPLETED = f"""
SELECT t.recording_id, t.language, r.end_user_id, r.device_id, r.recorded_at,
    r.transcription_id IS NOT DISTINCT FROM t.id AS is_current
FROM transcriptions t {titled_recording("t", "NULL")}
WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'completed'
"""

READ_LANGUAGE = """
SELECT t.language FROM transcriptions t WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'completed'
"""

# A walk over all worlds, along the primary key.
LIST_COMPLETED = """
SELECT t.world_id, t.id, t.recording_id FROM transcriptions t
WHERE (t.world_id, t.id) > ($1, $2) AND t.status = 'completed' ORDER BY t.world_id, t.id LIMIT $3
"""


async def read_segments(
    connection: Connection, world_id: int, transcription_id: str, *, with_words: bool
) -> bytes | None:
    """The segments as JSON; None if there is no such completed transcription."""
    return await fetch_value(connection, bytes, READ_SEGMENTS, world_id, transcription_id, with_words)


async def read_language(connection: Connection, world_id: int, transcription_id: str) -> str | None:
    """The language of a completed transcription; None if it is unknown."""
    return await fetch_value(connection, str, READ_LANGUAGE, world_id, transcription_id)


async def read_completed(
    connection: Connection, world_id: int, transcription_id: str
) -> CompletedTranscription | None:
    """What is known of a completed transcription; None if there is none, or its recording is deleted."""
    return await fetch_row(connection, CompletedTranscription, READ_COMPLETED, world_id, transcription_id)


async def list_completed(connection: Connection, after: tuple[int, str], limit: int) -> list[CompletedPlace]:
    """The next completed transcriptions of all worlds after `after` (world and id), in order of world and
    id."""
    return await fetch_rows(connection, CompletedPlace, LIST_COMPLETED, *after, limit)
