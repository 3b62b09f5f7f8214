"""All SQL of summaries, but for their templates and the work on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value, fetch_values
from lapel.foundation.http.input.pagination import PAGE_BYTES, PLANNED_ANEW
from lapel.slices.projects.service import project_of
from lapel.slices.recordings.service import end_user_of_recording, seen_recording
from lapel.slices.summaries.rows import ChangedSummaryRow, ListedSummaryRow, SummaryRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.summaries.wire import Code, Origin, Slot, SummaryQuery

# $1: the world, in every statement.
_COLUMNS = f"""
s.id, s.recording_id, s.transcription_id, s.status, s.template_id, s.template_version, s.custom_prompt,
s.provider, s.model, s.output, s.warnings, s.error_code, s.error_message, s.started_at, s.completed_at,
s.created_at, s.updated_at, {project_of("$1")} AS project_id
"""
# The statement reads no output after the one that fills a page; see the lists of transcriptions.
_SIZE = (
    "coalesce(octet_length(output), 0) + coalesce(octet_length(custom_prompt), 0) + octet_length(warnings)"
)
_PAGE = f"""
SELECT * FROM (
    SELECT p.*, sum({_SIZE}) OVER newest - ({_SIZE}) AS bytes_before,
        lead(id) OVER newest IS NOT NULL AS followed
    FROM ({{rows}}) p WINDOW newest AS (ORDER BY created_at DESC, id DESC)
) q WHERE bytes_before <= {PAGE_BYTES} ORDER BY created_at DESC, id DESC
"""

INSERT = """
INSERT INTO summaries (world_id, id, recording_id, transcription_id, origin, status, template_id,
    template_version, custom_prompt, provider, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $9, $10, $10)
ON CONFLICT (world_id, transcription_id) WHERE origin = 'auto' DO NOTHING
RETURNING id
"""

# $3: the end user whose recordings the caller may see; NULL if the caller may see all.
READ = f"""
SELECT {_COLUMNS} FROM summaries s WHERE s.world_id = $1 AND s.id = $2 AND {seen_recording("s", "$3")}
"""

SIZE = f"SELECT {_SIZE} FROM summaries WHERE world_id = $1 AND id = $2"

BEGIN = f"""
WITH begun AS (
    UPDATE summaries s SET status = 'processing', started_at = $3, updated_at = $3
    WHERE s.world_id = $1 AND s.id = $2 AND s.status = 'pending' RETURNING s.*
)
SELECT {_COLUMNS}, {end_user_of_recording("s")} AS end_user_id FROM begun s
"""

COMPLETE = f"""
WITH done AS (
    UPDATE summaries s SET status = 'completed', model = $3, output = $4, warnings = $5, completed_at = $6,
        updated_at = $6
    WHERE s.world_id = $1 AND s.id = $2 AND s.status = 'processing' RETURNING s.*
), older AS (
    UPDATE summaries o SET replaced = true FROM done d
    WHERE o.world_id = $1 AND o.transcription_id = d.transcription_id AND o.template_id = d.template_id
        AND (o.created_at, o.id) < (d.created_at, d.id) AND NOT o.replaced
)
SELECT {_COLUMNS}, {end_user_of_recording("s")} AS end_user_id FROM done s
"""

FAIL = f"""
WITH failed AS (
    UPDATE summaries s SET status = 'failed', error_code = $3, error_message = $4, completed_at = $5,
        updated_at = $5
    WHERE s.world_id = $1 AND s.id = $2 AND s.status IN ('pending', 'processing') RETURNING s.*
)
SELECT {_COLUMNS}, {end_user_of_recording("s")} AS end_user_id FROM failed s
"""

# All summaries of a recording, also of those that no list shows any more. $4: the id after which it goes on.
LIST_IDS = f"""
SELECT s.id FROM summaries s
WHERE s.world_id = $1 AND s.recording_id = $2 AND {seen_recording("s", "$3")} AND s.id > $4
ORDER BY s.id LIMIT $5
"""

# The lock waits for transactions that are writing an event of these rows. So the erasure that follows sees
# these events too.
LOCK_OF_RECORDINGS = """
SELECT id FROM summaries WHERE world_id = $1 AND recording_id = ANY($2::text[]) FOR UPDATE
"""


def list_sql(*, by_transcription: bool, by_recording: bool) -> str:
    """The statement for a set of filters. Each set has its own statement, so that each prepared plan can use
    the index that fits."""
    parts = [
        "s.world_id = $1",
        seen_recording("s", "$2"),
        "(s.created_at, s.id) < ($3, $4)",
        "NOT s.replaced",
    ]
    if by_transcription:
        parts.append("s.transcription_id = $7")
    if by_recording:
        parts.append(f"s.recording_id = ${8 if by_transcription else 7}")
    if by_transcription or by_recording:
        parts.append(PLANNED_ANEW)
    whole = (
        f"SELECT {_COLUMNS} FROM summaries s "
        f"WHERE {' AND '.join(parts)} ORDER BY s.created_at DESC, s.id DESC LIMIT $5 OFFSET $6"
    )
    return _PAGE.format(rows=whole)


LISTS = {
    (by_transcription, by_recording): list_sql(by_transcription=by_transcription, by_recording=by_recording)
    for by_transcription in (False, True)
    for by_recording in (False, True)
}
LIST_SIZES = {
    key: f"SELECT coalesce(sum({_SIZE}), 0)::bigint FROM ({listed}) page" for key, listed in LISTS.items()
}


async def insert(
    connection: Connection,
    world_id: int,
    summary_id: str,
    of: tuple[str, str],
    now: datetime,
    *,
    origin: Origin,
    template: tuple[str, int | None] | None,
    prompt: str | None,
    provider: Slot,
) -> bool:
    """Insert a summary. Returns False if `origin` is "auto" and the transcription has an automatic summary.

    `of`: ids of recording and transcription. `template`: id and version; None for a prompt.
    """
    template_id, version = template or (None, None)
    given = (*of, origin, template_id, version, prompt, provider, now)
    return await fetch_value(connection, str, INSERT, world_id, summary_id, *given) is not None


async def read(
    connection: Connection, world_id: int, summary_id: str, end_user_id: str | None
) -> SummaryRow | None:
    """A summary; None if the caller may not see it."""
    return await fetch_row(connection, SummaryRow, READ, world_id, summary_id, end_user_id)


async def size(connection: Connection, world_id: int, summary_id: str) -> int | None:
    """Bytes of a summary's texts; None if there is no such summary."""
    return await fetch_value(connection, int, SIZE, world_id, summary_id)


async def list_page(
    connection: Connection, world_id: int, end_user_id: str | None, asked: PageWindow, query: SummaryQuery
) -> list[ListedSummaryRow]:
    """A page, newest first. If its last row has `followed`, further rows were left out because of their
    size."""
    key, given = _listed(world_id, end_user_id, asked, query)
    return await fetch_rows(connection, ListedSummaryRow, LISTS[key], *given)


async def list_size(
    connection: Connection, world_id: int, end_user_id: str | None, asked: PageWindow, query: SummaryQuery
) -> int:
    """Bytes of the texts in the page that `list_page` returns for the same arguments."""
    key, given = _listed(world_id, end_user_id, asked, query)
    return await fetch_value(connection, int, LIST_SIZES[key], *given) or 0


def _listed(
    world_id: int, end_user_id: str | None, asked: PageWindow, query: SummaryQuery
) -> tuple[tuple[bool, bool], list[object]]:
    """The key of the statement for these filters, and its arguments."""
    filters = (query.transcription_id, query.recording_id)
    given = [value for value in filters if value is not None]
    place = (asked.before_time, asked.before_id, asked.fetch, asked.offset)
    return (filters[0] is not None, filters[1] is not None), [world_id, end_user_id, *place, *given]


async def begin(
    connection: Connection, world_id: int, summary_id: str, now: datetime
) -> ChangedSummaryRow | None:
    """Set a pending summary to processing; None if it is not pending."""
    return await fetch_row(connection, ChangedSummaryRow, BEGIN, world_id, summary_id, now)


async def complete(
    connection: Connection,
    world_id: int,
    summary_id: str,
    made: tuple[str, bytes, bytes],
    now: datetime,
) -> ChangedSummaryRow | None:
    """Complete a summary; None unless it was processing. Older ones of its transcription and template leave
    the lists. `made`: model, output and warnings; the last two are JSON."""
    return await fetch_row(connection, ChangedSummaryRow, COMPLETE, world_id, summary_id, *made, now)


async def fail(
    connection: Connection, world_id: int, summary_id: str, code: Code, message: str, now: datetime
) -> ChangedSummaryRow | None:
    """Set a summary to failed; None if it has ended already."""
    return await fetch_row(connection, ChangedSummaryRow, FAIL, world_id, summary_id, code, message, now)


async def list_ids(
    connection: Connection,
    world_id: int,
    recording_id: str,
    end_user_id: str | None,
    after: str,
    most: int,
) -> list[str]:
    """At most `most` ids of a recording's summaries after the id `after`, in order."""
    return await fetch_values(connection, str, LIST_IDS, world_id, recording_id, end_user_id, after, most)


async def lock_of_recordings(connection: Connection, world_id: int, recording_ids: list[str]) -> list[str]:
    """The ids of all summaries of these recordings. The rows are locked until the transaction ends."""
    return await fetch_values(connection, str, LOCK_OF_RECORDINGS, world_id, recording_ids)
