"""All SQL of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.batches import deleting_some
from lapel.foundation.database.pool import affected
from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_value
from lapel.slices.ask.rows import LatestRow, SessionRow
from lapel.slices.end_users.service import present
from lapel.slices.projects.service import project_of
from lapel.slices.recordings.service import name_of_recording, seen_recording

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.ask.wire import AskSessionQuery, ScopeType
    from lapel.slices.language_models.service import LanguageSlot

# $1: the world, in every statement. $2 is the end user whose sessions the caller may see; NULL: all.
_COLUMNS = f"""
s.id, {project_of("$1")} AS project_id, s.end_user_id, s.scope_type, s.recording_id, s.recording_ids,
{name_of_recording("s")} AS recording_title, s.title, s.message_count, s.last_message_at, s.last_model,
s.last_provider, s.created_at, s.updated_at
"""
_SEEN = f"""s.world_id = $1 AND ($2::text IS NULL OR s.end_user_id = $2) AND {present("s")}
    AND (s.recording_id IS NULL OR {seen_recording("s", "$2")})"""

INSERT = """
INSERT INTO ask_sessions (world_id, id, end_user_id, scope_type, recording_id, recording_ids, title,
    title_folded, title_from_message, message_count, last_message_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, true, 0, $9, $9, $9)
"""
INSERT_RECORDINGS = """
INSERT INTO ask_session_recordings (world_id, recording_id, session_id)
SELECT $1, recording_id, $2 FROM unnest($3::text[]) AS held (recording_id)
"""

READ = f"SELECT {_COLUMNS} FROM ask_sessions s WHERE {_SEEN} AND s.id = $3"
LOCK = f"SELECT s.id FROM ask_sessions s WHERE {_SEEN} AND s.id = $3 FOR NO KEY UPDATE OF s"
LATEST = """
SELECT coalesce((
    SELECT m.place FROM ask_messages m WHERE m.world_id = $1 AND m.session_id = $2
    ORDER BY m.place DESC LIMIT 1), 0) AS place, s.last_message_at
FROM ask_sessions s WHERE s.world_id = $1 AND s.id = $2
"""

SET_TITLE = """
UPDATE ask_sessions SET title = $3, title_folded = $4, title_from_message = false, updated_at = $5
WHERE world_id = $1 AND id = $2
"""
DELETE = "DELETE FROM ask_sessions WHERE world_id = $1 AND id = $2"

# After an exchange. A title that was not chosen is the beginning of the first question.
ADD_EXCHANGE = """
UPDATE ask_sessions SET message_count = message_count + 2, last_message_at = $3, updated_at = $3,
    last_model = $4, last_provider = $5,
    title = CASE WHEN $6::text IS NULL THEN title ELSE $6 END,
    title_folded = CASE WHEN $6::text IS NULL THEN title_folded ELSE $7 END,
    title_from_message = CASE WHEN $6::text IS NULL THEN title_from_message ELSE true END
WHERE world_id = $1 AND id = $2
"""
IS_UNTITLED = """
SELECT title_from_message AND NOT EXISTS (
    SELECT FROM ask_messages m WHERE m.world_id = $1 AND m.session_id = $2)
FROM ask_sessions WHERE world_id = $1 AND id = $2
"""

DELETE_OF_END_USER = deleting_some(
    "ask_sessions",
    "SELECT ctid FROM ask_sessions WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE",
)


# The recording of a session belongs to the session's end user. Without `$2 IS NULL OR …`, the planner knows
# that most rows of an index are shown, and walks along it.
_LISTED = f"""s.world_id = $1 AND {present("s")}
    AND (s.recording_id IS NULL OR {seen_recording("s", "NULL")})"""
_HOLDS = """s.id = ANY(ARRAY(
    SELECT h.session_id FROM ask_session_recordings h WHERE h.world_id = $1 AND h.recording_id = ${}))"""


def list_sql(*, by_end_user: bool, by_recording: bool, by_type: bool, by_title: bool) -> str:
    """The statement for a set of filters. Each set has its own statement, so that each prepared plan can use
    the index that fits."""
    parts, number = [_LISTED, "(s.last_message_at, s.id) < ($2, $3)"], 6
    for given, condition in (
        (by_end_user, "s.end_user_id = ${}"),
        (by_recording, _HOLDS),
        (by_type, "s.scope_type = ${}"),
        # As `position`, the text has no wildcards.
        (by_title, "position(${}::text IN s.title_folded) > 0"),
    ):  # fmt: skip
        if given:
            parts.append(condition.format(number))
            number += 1
    return (
        f"SELECT {_COLUMNS} FROM ask_sessions s WHERE {' AND '.join(parts)} "
        "ORDER BY s.last_message_at DESC, s.id DESC LIMIT $4 OFFSET $5"
    )


_BOTH = (False, True)
LISTS = {
    (by_end_user, by_recording, by_type, by_title): list_sql(
        by_end_user=by_end_user, by_recording=by_recording, by_type=by_type, by_title=by_title
    )
    for by_end_user in _BOTH
    for by_recording in _BOTH
    for by_type in _BOTH
    for by_title in _BOTH
}


async def insert(
    connection: Connection,
    world_id: int,
    session_id: str,
    end_user_id: str,
    scope: tuple[ScopeType, list[str]],
    title: str,
    now: datetime,
) -> None:
    """Insert a session without messages. `scope`: its type, and its recordings."""
    kind, recording_ids = scope
    one = recording_ids[0] if kind == "recording" else None
    await connection.execute(
        INSERT,
        world_id,
        session_id,
        end_user_id,
        kind,
        one,
        recording_ids,
        title,
        title.casefold(),
        now,
    )
    if recording_ids:
        await connection.execute(INSERT_RECORDINGS, world_id, session_id, recording_ids)


async def read(
    connection: Connection, world_id: int, end_user_id: str | None, session_id: str
) -> SessionRow | None:
    """A session; None if the caller may not see it. `end_user_id`: whose sessions the caller sees."""
    return await fetch_row(connection, SessionRow, READ, world_id, end_user_id, session_id)


async def lock(connection: Connection, world_id: int, end_user_id: str | None, session_id: str) -> bool:
    """Lock a session against other writers. Returns False if the caller may not see it."""
    return await fetch_value(connection, str, LOCK, world_id, end_user_id, session_id) is not None


async def latest(connection: Connection, world_id: int, session_id: str) -> LatestRow | None:
    """Where the next exchange goes; None if there is no such session."""
    return await fetch_row(connection, LatestRow, LATEST, world_id, session_id)


async def list_page(
    connection: Connection, world_id: int, end_user_id: str | None, asked: PageWindow, query: AskSessionQuery
) -> list[SessionRow]:
    """A page, latest activity first. `end_user_id`: whose sessions the caller sees; None: all."""
    folded = query.q.casefold() if query.q else None
    if end_user_id is not None and query.end_user_id not in (None, "", end_user_id):
        return []
    given = (end_user_id or query.end_user_id, query.recording_id, query.scope_type, folded)
    by_end_user, by_recording, by_type, by_title = (bool(each) for each in given)
    place = (asked.before_time, asked.before_id, asked.fetch, asked.offset)
    return await fetch_rows(
        connection,
        SessionRow,
        LISTS[by_end_user, by_recording, by_type, by_title],
        world_id,
        *place,
        *(each for each in given if each),
    )


async def set_title(
    connection: Connection, world_id: int, session_id: str, title: str, now: datetime
) -> None:
    """Give a session a chosen title."""
    await connection.execute(SET_TITLE, world_id, session_id, title, title.casefold(), now)


async def delete(connection: Connection, world_id: int, session_id: str) -> bool:
    """Delete a session with its messages. Returns False if there is none."""
    return affected(await connection.execute(DELETE, world_id, session_id)) == 1


async def is_untitled(connection: Connection, world_id: int, session_id: str) -> bool:
    """Whether the next question gives the session its title."""
    return bool(await fetch_value(connection, bool, IS_UNTITLED, world_id, session_id))


async def add_exchange(
    connection: Connection,
    world_id: int,
    session_id: str,
    now: datetime,
    model: str | None,
    provider: LanguageSlot,
    title: str | None,
) -> None:
    """Count two more messages. `title`: the session's new title; None keeps the present one."""
    folded = None if title is None else title.casefold()
    await connection.execute(ADD_EXCHANGE, world_id, session_id, now, model, provider, title, folded)


async def delete_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` sessions of an end user. Returns their number."""
    return await fetch_only_value(connection, int, DELETE_OF_END_USER, world_id, end_user_id, limit)
