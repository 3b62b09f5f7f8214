"""SQL of exports: a transcript is read whole or, if it is long, slice by slice."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_row, fetch_value, fetch_values
from lapel.slices.recordings.service import TITLE, seen_recording, titled_recording
from lapel.slices.transcription.speech.failures import Code
from lapel.slices.transcription.speech.transcript import Status

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


class ExportRow(msgspec.Struct, frozen=True):
    """The input of an export. `segments`: JSON; None if they are too long, or if there are none."""

    status: Status
    error_code: Code | None
    error_message: str | None
    recording_id: str
    language: str | None
    duration_ms: int | None
    model: str | None
    name: str | None
    recorded_at: datetime | None
    recording_created_at: datetime
    segments: bytes | None
    has_speakers: bool
    warnings: str | None


# $4: whether words are needed. Rows from before migration 0020 have only segments with words.
_STORED = "CASE WHEN $4 THEN t.segments ELSE coalesce(t.segments_plain, t.segments) END"

# Reads the segments only if they have at most $5 bytes. Longer segments are only searched for the key
# "speaker", to find out whether any segment has a speaker. No text can match, because JSON escapes quotes.
READ = f"""
SELECT t.status, t.error_code, t.error_message, t.recording_id, t.language, t.duration_ms, t.model,
    {TITLE},
    CASE WHEN octet_length(s.stored) <= $5 THEN s.stored END AS segments,
    coalesce(octet_length(s.stored) <= $5 OR position('"speaker":'::bytea IN s.stored) > 0, false)
        AS has_speakers, t.warnings
FROM transcriptions t {titled_recording("t", "$3")}
CROSS JOIN LATERAL (SELECT {_STORED} AS stored) s
WHERE t.world_id = $1 AND t.id = $2
"""

# Also transcriptions that no list shows, because a newer one replaced them. Index:
# transcriptions_of_recording.
LIST_IDS = f"""
SELECT t.id FROM transcriptions t
WHERE t.world_id = $1 AND t.recording_id = $2 AND t.id > $4 AND {seen_recording("t", "$3")}
ORDER BY t.id LIMIT $5
"""

# $5: the first byte, counted from 1. PostgreSQL reads and unpacks the value only up to the end of the slice.
READ_SLICE = f"""
SELECT substring({_STORED} FROM $5 FOR $6)
FROM transcriptions t WHERE t.world_id = $1 AND t.id = $2 AND {seen_recording("t", "$3")}
"""


async def read(
    connection: Connection,
    world_id: int,
    transcription_id: str,
    end_user_id: str | None,
    *,
    has_words: bool,
    most: int,
) -> ExportRow | None:
    """The input of an export; None if the caller may not see it. Segments of more than `most` bytes are
    None."""
    return await fetch_row(
        connection, ExportRow, READ, world_id, transcription_id, end_user_id, has_words, most
    )


async def list_ids(
    connection: Connection, world_id: int, recording_id: str, end_user_id: str | None, after: str, limit: int
) -> list[str]:
    """The ids of at most `limit` transcriptions of a recording, those after `after`, in order."""
    return await fetch_values(connection, str, LIST_IDS, world_id, recording_id, end_user_id, after, limit)


async def read_slice(
    connection: Connection,
    world_id: int,
    transcription_id: str,
    end_user_id: str | None,
    *,
    has_words: bool,
    place: int,
    size: int,
) -> bytes | None:
    """At most `size` bytes of the stored segments, from byte `place` on (counted from 0).

    Empty if no byte is left. None if the caller may not see the transcription.
    """
    return await fetch_value(
        connection, bytes, READ_SLICE, world_id, transcription_id, end_user_id, has_words, place + 1, size
    )
