"""All SQL of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_values
from lapel.slices.ask.rows import MessageRow, TurnRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

_COLUMNS = """m.id, m.session_id, m.place, m.role, m.content, m.parts, {sources} AS sources, m.tokens_input,
m.tokens_output, m.tokens_cached, m.model, m.provider, m.finish_reason, m.created_at"""

INSERT = """
INSERT INTO ask_messages (world_id, session_id, place, id, role, content, parts, sources, tokens_input,
    tokens_output, tokens_cached, model, provider, finish_reason, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""
INSERT_RECORDINGS = """
INSERT INTO ask_answer_recordings (world_id, recording_id, session_id, place)
SELECT $1, recording_id, $2, $3 FROM unnest($4::text[]) AS used (recording_id)
"""
READ = f"""
SELECT {_COLUMNS.format(sources="m.sources")} FROM ask_messages m
WHERE m.world_id = $1 AND m.session_id = $2 AND m.id = $3
"""
LIST = f"""
SELECT {_COLUMNS.format(sources="NULL::bytea")} FROM ask_messages m
WHERE m.world_id = $1 AND m.session_id = $2 AND m.place > $3 ORDER BY m.place LIMIT $4 OFFSET $5
"""
TURNS = """
SELECT m.place, m.role, m.content FROM ask_messages m WHERE m.world_id = $1 AND m.session_id = $2
ORDER BY m.place DESC LIMIT $3
"""
RECORDINGS_OF_ANSWERS = """
SELECT DISTINCT a.recording_id FROM ask_answer_recordings a
WHERE a.world_id = $1 AND a.session_id = $2 AND a.place = ANY($3::bigint[])
"""
COUNT_PLACES = """
SELECT count(*) FROM ask_messages m
WHERE m.world_id = $1 AND m.session_id = $2 AND m.place = ANY($3::bigint[])
"""
LOCK_OF_RECORDINGS = """
SELECT s.id FROM ask_sessions s WHERE s.world_id = $1 AND s.id = ANY(ARRAY(
    SELECT DISTINCT a.session_id FROM ask_answer_recordings a
    WHERE a.world_id = $1 AND a.recording_id = ANY($2::text[])))
ORDER BY s.id FOR NO KEY UPDATE
"""
# Questions and answers. A title that was not chosen is of the first question. What a session shows of its
# newest answer is then that of the newest one that is left; without one, as before the first.
DELETE_OF_RECORDINGS = """
WITH gone AS (
    DELETE FROM ask_messages m USING (
        SELECT DISTINCT a.session_id, a.place FROM ask_answer_recordings a
        WHERE a.world_id = $1 AND a.recording_id = ANY($2::text[])) used
    WHERE m.world_id = $1 AND m.session_id = used.session_id AND m.place IN (used.place - 1, used.place)
    RETURNING m.session_id, m.place
), counted AS (
    SELECT session_id, count(*) AS messages, min(place) AS first FROM gone GROUP BY session_id
)
UPDATE ask_sessions s SET message_count = s.message_count - counted.messages, updated_at = $3,
    last_message_at = coalesce(newest.created_at, s.created_at), last_model = newest.model,
    last_provider = newest.provider,
    title = CASE WHEN s.title_from_message AND counted.first = 1 THEN $4 ELSE s.title END,
    title_folded = CASE WHEN s.title_from_message AND counted.first = 1 THEN $5 ELSE s.title_folded END
FROM counted LEFT JOIN LATERAL (
    SELECT m.created_at, m.model, m.provider FROM ask_messages m
    WHERE m.world_id = $1 AND m.session_id = counted.session_id AND m.place <> ALL(ARRAY(
        SELECT gone.place FROM gone WHERE gone.session_id = counted.session_id))
    ORDER BY m.place DESC LIMIT 1) newest ON true
WHERE s.world_id = $1 AND s.id = counted.session_id
"""


async def insert(connection: Connection, world_id: int, row: MessageRow) -> None:
    """Insert a message."""
    await connection.execute(
        INSERT,
        world_id,
        row.session_id,
        row.place,
        row.id,
        row.role,
        row.content,
        row.parts,
        row.sources,
        row.tokens_input,
        row.tokens_output,
        row.tokens_cached,
        row.model,
        row.provider,
        row.finish_reason,
        row.created_at,
    )


async def insert_recordings(
    connection: Connection, world_id: int, session_id: str, place: int, recording_ids: list[str]
) -> None:
    """Store what an answer was made from."""
    if recording_ids:
        await connection.execute(INSERT_RECORDINGS, world_id, session_id, place, recording_ids)


async def read(connection: Connection, world_id: int, session_id: str, message_id: str) -> MessageRow | None:
    """A message with its sources."""
    return await fetch_row(connection, MessageRow, READ, world_id, session_id, message_id)


async def list_page(
    connection: Connection, world_id: int, session_id: str, after: int, limit: int, offset: int
) -> list[MessageRow]:
    """Messages after a place, oldest first."""
    return await fetch_rows(connection, MessageRow, LIST, world_id, session_id, after, limit, offset)


async def last_turns(connection: Connection, world_id: int, session_id: str, limit: int) -> list[TurnRow]:
    """The newest messages, oldest first."""
    rows = await fetch_rows(connection, TurnRow, TURNS, world_id, session_id, limit)
    return rows[::-1]


async def recordings_of_answers(
    connection: Connection, world_id: int, session_id: str, places: list[int]
) -> list[str]:
    """The recordings that these answers were made from."""
    return await fetch_values(connection, str, RECORDINGS_OF_ANSWERS, world_id, session_id, places)


async def are_there(connection: Connection, world_id: int, session_id: str, places: list[int]) -> bool:
    """Whether none of these distinct messages is deleted."""
    return not places or len(places) == await fetch_only_value(
        connection, int, COUNT_PLACES, world_id, session_id, places
    )


async def delete_of_recordings(
    connection: Connection, world_id: int, recording_ids: list[str], title: str, now: datetime
) -> None:
    """Delete all exchanges that were made from these recordings. `title`: of a session that loses its own."""
    if await fetch_values(connection, str, LOCK_OF_RECORDINGS, world_id, recording_ids):
        await connection.execute(DELETE_OF_RECORDINGS, world_id, recording_ids, now, title, title.casefold())
