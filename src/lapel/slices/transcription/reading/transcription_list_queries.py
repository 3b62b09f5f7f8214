"""The SQL that lists transcriptions."""

from __future__ import annotations

from itertools import product, starmap
from typing import TYPE_CHECKING, NamedTuple

from lapel.foundation.database.rows import fetch_only_value, fetch_rows
from lapel.foundation.http.input.pagination import PAGE_BYTES, PLANNED_ANEW, from_start
from lapel.slices.recordings.service import seen_recording
from lapel.slices.transcription.queries import COLUMNS, PLAIN_SEGMENTS
from lapel.slices.transcription.rows import ListedTranscriptRow

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.transcription.wire import Include, TranscriptionQuery

# The statement reads no transcript after the one that fills a page, so that a hundred long transcripts do not
# fill the memory. PostgreSQL stores long values apart from their rows, but the rows hold their lengths. So
# the sum of the lengths reads no long value.
_PAGE = """
SELECT * FROM (
    SELECT p.*, sum({size}) OVER newest - ({size}) AS bytes_before,
        lead(id) OVER newest IS NOT NULL AS followed
    FROM ({rows}) p WINDOW newest AS (ORDER BY created_at DESC, id DESC)
) q WHERE bytes_before <= {most} ORDER BY created_at DESC, id DESC
"""
INCLUDES: tuple[Include | None, ...] = (None, "segments", "words")
# $2: the end user whose recordings the caller of a list may see; NULL if the caller may see all recordings.
# Once the recording's current transcription is completed, no list shows older transcriptions. IS TRUE keeps
# the planner from indexes that begin with status or time: if the average world has few transcriptions, it
# takes them for as good as the primary key, and reads all newer transcriptions of a large world for each row.
_NEWEST = """NOT EXISTS (
    SELECT FROM transcriptions c
    WHERE c.world_id = r.world_id AND c.id = r.transcription_id
        AND (c.status = 'completed' AND (t.created_at, t.id) < (c.created_at, c.id)) IS TRUE)"""
_SEEN = f"t.world_id = $1 AND {seen_recording('t', '$2', also=_NEWEST)}"


class ListKey(NamedTuple):
    """Which statement lists transcriptions: with these parts and filters.

    `from_start`: only with an offset of 0, and without filters (`pagination.from_start`).
    """

    include: Include | None
    by_recording: bool
    by_status: bool
    from_start: bool


def list_sql(key: ListKey) -> str:
    """The statement for a set of filters. Each set has its own statement, so that each prepared plan can use
    the index that fits."""
    segments = {"segments": PLAIN_SEGMENTS, "words": "t.segments", None: "NULL::bytea"}
    columns = f"{COLUMNS}, {segments[key.include]} AS segments"
    parts = [_SEEN, "(t.created_at, t.id) < ($3, $4)"]
    if key.by_recording:
        parts.append("t.recording_id = $7")
    if key.by_status:
        parts.append(f"t.status = ${8 if key.by_recording else 7}")
    if key.by_recording or key.by_status:
        parts.append(PLANNED_ANEW)
    whole = (
        f"SELECT {columns} FROM transcriptions t "
        f"WHERE {' AND '.join(parts)} ORDER BY t.created_at DESC, t.id DESC LIMIT $5 OFFSET $6"
    )
    size = "2 * coalesce(octet_length(full_text), 0)" + " + coalesce(octet_length(segments), 0)" * bool(
        key.include
    )
    return _PAGE.format(rows=from_start(whole) if key.from_start else whole, size=size, most=PAGE_BYTES)


LISTS = {
    key: list_sql(key)
    for key in starmap(ListKey, product(INCLUDES, (False, True), (False, True), (False, True)))
    if not (key.from_start and (key.by_recording or key.by_status))
}


LIST_SIZES = {
    key: "SELECT coalesce(sum(2 * coalesce(octet_length(full_text), 0)"
    + " + coalesce(octet_length(segments), 0)" * bool(key.include)
    + f"), 0)::bigint FROM ({listed}) page"
    for key, listed in LISTS.items()
}


async def list_page(
    connection: Connection,
    world_id: int,
    end_user_id: str | None,
    asked: PageWindow,
    query: TranscriptionQuery,
) -> list[ListedTranscriptRow]:
    """A page, newest first. If its last row has `followed`, further rows were left out because of their
    size."""
    key, given = _listed(world_id, end_user_id, asked, query)
    return await fetch_rows(connection, ListedTranscriptRow, LISTS[key], *given)


async def list_size(
    connection: Connection,
    world_id: int,
    end_user_id: str | None,
    asked: PageWindow,
    query: TranscriptionQuery,
) -> int:
    """Bytes of the texts and segments in the page that `list_page` returns for the same arguments."""
    key, given = _listed(world_id, end_user_id, asked, query)
    return await fetch_only_value(connection, int, LIST_SIZES[key], *given)


def _listed(
    world_id: int, end_user_id: str | None, asked: PageWindow, query: TranscriptionQuery
) -> tuple[ListKey, list[object]]:
    """The key of the statement for these filters, and its arguments."""
    given = [value for value in (query.recording_id, query.status) if value is not None]
    place = (asked.before_time, asked.before_id, asked.fetch, asked.offset)
    filters = (query.recording_id is not None, query.status is not None)
    key = ListKey(query.include, *filters, from_start=not any(filters) and asked.offset == 0)
    return key, [world_id, end_user_id, *place, *given]
