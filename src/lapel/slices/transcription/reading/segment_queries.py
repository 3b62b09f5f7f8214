"""SQL that reads completed transcripts for other slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_value

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

# $3: whether words are needed. Rows from before migration 0020 have only segments with words.
READ_SEGMENTS = """
SELECT CASE WHEN $3 THEN t.segments ELSE coalesce(t.segments_plain, t.segments) END
FROM transcriptions t WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'completed'
"""

READ_LANGUAGE = """
SELECT t.language FROM transcriptions t WHERE t.world_id = $1 AND t.id = $2 AND t.status = 'completed'
"""


async def read_segments(
    connection: Connection, world_id: int, transcription_id: str, *, with_words: bool
) -> bytes | None:
    """The segments as JSON; None if there is no such completed transcription."""
    return await fetch_value(connection, bytes, READ_SEGMENTS, world_id, transcription_id, with_words)


async def read_language(connection: Connection, world_id: int, transcription_id: str) -> str | None:
    """The language of a completed transcription; None if it is unknown."""
    return await fetch_value(connection, str, READ_LANGUAGE, world_id, transcription_id)
