"""The SQL that reads what can be searched, and the chunks that were found.

`word_queries.py` and `nearest_queries.py` find the chunks. docs/decisions/0025 gives the reasons.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_rows
from lapel.slices.end_users.service import ACTIVE_END_USER
from lapel.slices.recordings.service import seen_recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection


class ChunkRow(msgspec.Struct, frozen=True):
    """A chunk."""

    chunk_id: str
    recording_id: str
    transcription_id: str
    chunk_text: str
    speaker: str | None
    start_ms: int
    end_ms: int
    recorded_at: datetime | None


class ExtentRow(msgspec.Struct, frozen=True):
    """How many transcripts and chunks an end user has in one text search configuration.

    An end user without transcripts has one row, which counts none.
    """

    configuration: str
    transcripts: int
    chunks: int


class SearchFilters(msgspec.Struct, frozen=True):
    """Only chunks of these recordings (None: all), recorded at `after` or later, and before `before`."""

    recording_ids: list[str] | None = None
    after: datetime | None = None
    before: datetime | None = None


# The conditions of SearchFilters, as the parameters after world and end user.
FILTERS = """($3::text[] IS NULL OR c.recording_id = ANY($3))
        AND ($4::timestamptz IS NULL OR c.recorded_at >= $4)
        AND ($5::timestamptz IS NULL OR c.recorded_at < $5)"""

# No row: there is no such end user. Of the transcripts, it reads the index alone, where each has one entry
# however long it is.
EXTENT = f"""
SELECT coalesce(t.configuration, 'simple') AS configuration, count(t.configuration) AS transcripts,
    coalesce(sum(t.chunks), 0)::bigint AS chunks
FROM ({ACTIVE_END_USER}) e LEFT JOIN search_transcripts t ON t.world_id = $1 AND t.end_user_id = $2
GROUP BY t.configuration
"""

READ_CHUNKS = f"""
SELECT c.id AS chunk_id, c.recording_id, c.transcription_id, c.chunk_text, c.speaker, c.start_ms, c.end_ms,
    c.recorded_at
FROM search_chunks c WHERE c.world_id = $1 AND c.end_user_id = $2 AND c.id = ANY($3::text[])
    AND {seen_recording("c", "$2")}
"""


async def extent(connection: Connection, world_id: int, end_user_id: str) -> list[ExtentRow]:
    """How much of an end user can be searched, by text search configuration. None for an unknown end user."""
    return await fetch_rows(connection, ExtentRow, EXTENT, world_id, end_user_id)


async def read_chunks(
    connection: Connection, owner: tuple[int, str], chunk_ids: Sequence[str]
) -> list[ChunkRow]:
    """The chunks with these ids, in any order, unless their recording was deleted meanwhile.

    `owner`: world and end user.
    """
    return await fetch_rows(connection, ChunkRow, READ_CHUNKS, *owner, chunk_ids)
