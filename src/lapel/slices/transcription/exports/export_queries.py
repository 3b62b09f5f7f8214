"""SQL of exports: a transcript is read whole or, if it is long, slice by slice."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_row, fetch_value
from lapel.slices.recordings.service import TITLE, seen_recording, titled_recording
from lapel.slices.transcription.speech.failures import Code
from lapel.slices.transcription.speech.transcript import Status

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


class ExportRow(msgspec.Struct, frozen=True):
    """The input of an export. `segments`: JSON; None when it is too long, or there is none."""

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


# $4: whether words are needed. Otherwise rows of before migration 0020 still include them.
_STORED = "CASE WHEN $4 THEN t.segments ELSE coalesce(t.segments_plain, t.segments) END"

# Segments of up to so many bytes ($5); for longer ones whether any has a speaker. No text can contain this
# key, because a quote in a text is escaped.
READ = f"""
SELECT t.status, t.error_code, t.error_message, t.recording_id, t.language, t.duration_ms, t.model,
    {TITLE},
    CASE WHEN octet_length(s.stored) <= $5 THEN s.stored END AS segments,
    coalesce(octet_length(s.stored) <= $5 OR position('"speaker":'::bytea IN s.stored) > 0, false)
        AS has_speakers
FROM transcriptions t {titled_recording("t", "$3")}
CROSS JOIN LATERAL (SELECT {_STORED} AS stored) s
WHERE t.world_id = $1 AND t.id = $2
"""

# $5: the first byte, counted from 1. PostgreSQL reads and unpacks no more than up to the end of the slice.
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
    """The input of an export; None if the caller may not see it. Segments are NULL beyond `most` bytes."""
    return await fetch_row(
        connection, ExportRow, READ, world_id, transcription_id, end_user_id, has_words, most
    )


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
    """At most `size` bytes of the stored segments from byte `place` on, counted from 0; empty after the last.

    None if the caller may not see the transcription.
    """
    return await fetch_value(
        connection, bytes, READ_SLICE, world_id, transcription_id, end_user_id, has_words, place + 1, size
    )
