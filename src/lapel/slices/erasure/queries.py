"""All SQL of the erasure ledger."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, get_args

import msgspec

from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value, fetch_values
from lapel.foundation.http.input.pagination import PLANNED_ANEW
from lapel.slices.erasure.hold_queries import kept
from lapel.slices.erasure.local_copy_queries import COPIED
from lapel.slices.erasure.wire import Reason, State, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.erasure.causes import Cause, RecordingToErase


class ErasureRow(msgspec.Struct, frozen=True):
    """One entry of the ledger."""

    id: str
    resource_type: Subject
    resource_id: str
    state: State
    reason: Reason
    requested_by_kind: str | None
    requested_by_id: str | None
    objects_erased: int
    links_expire_at: datetime
    created_at: datetime
    released_at: datetime | None
    first_empty_at: datetime | None
    closed_at: datetime | None


class OpenErasureRow(msgspec.Struct, frozen=True):
    """The remaining work of an entry that is not closed."""

    resource_type: Subject
    resource_id: str
    reason: Reason
    state: State
    prefixes: list[str]
    links_expire_at: datetime


class DueRow(msgspec.Struct, frozen=True):
    """The key of an entry that is due."""

    world_id: int
    id: str


class DeletedEndUserRow(msgspec.Struct, frozen=True):
    """The deletion of an end user: its time, and who asked for it."""

    created_at: datetime
    requested_by_kind: str | None
    requested_by_id: str | None


class EnteringRow(msgspec.Struct, frozen=True):
    """A deleted end user whose recordings are not all in the ledger."""

    world_id: int
    resource_id: str


_COLUMNS = """
id, resource_type, resource_id, state, reason, requested_by_kind, requested_by_id, objects_erased,
links_expire_at, created_at, released_at, first_empty_at, closed_at
"""

# An entry has the end user's id if the end user is deleted too ($7), or if a hold keeps the entry, because
# the entry of the end user waits for it. $9: when the scheduled round takes the entry over; never, if held.
OPEN_RECORDINGS = """
INSERT INTO erasures (world_id, id, resource_type, resource_id, recording_id, end_user_id, prefixes,
    links_expire_at, state, created_at, due_at, reason, requested_by_kind, requested_by_id)
SELECT $1, entry.id, CASE WHEN entry.media_id IS NULL THEN 'recording' ELSE 'media' END,
    coalesce(entry.media_id, entry.recording_id),
    CASE WHEN entry.media_id IS NOT NULL THEN entry.recording_id END, coalesce($7, entry.held_for),
    ARRAY[entry.staging, entry.final, entry.sealed], entry.links_expire_at,
    CASE WHEN entry.held_for IS NULL THEN 'open' ELSE 'held' END, $8,
    CASE WHEN entry.held_for IS NULL THEN $9::timestamptz ELSE 'infinity' END, $10, $11, $12
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $15::text[], $6::timestamptz[], $13::text[],
    $14::text[]) AS entry (id, recording_id, staging, final, sealed, links_expire_at, held_for, media_id)
"""

# It names no objects: all objects belong to recordings, whose entries name them. It is closed when all
# recordings are entered and all their entries are closed.
OPEN_END_USER = """
INSERT INTO erasures (world_id, id, resource_type, resource_id, prefixes, links_expire_at, state, created_at,
    entered, due_at, reason, requested_by_kind, requested_by_id)
VALUES ($1, $2, 'end_user', $3, '{}', $4, $8, $4, false, $4::timestamptz + interval '5 minutes', $5, $6, $7)
"""

# End users whose recordings are not all in the ledger yet.
ENTERING = """
SELECT x.resource_id FROM erasures x
WHERE x.world_id = $1 AND x.resource_type = 'end_user' AND NOT x.entered
"""

# Four statements instead of one with `OR`, so that the prepared plan of each uses its own index.
LIST = f"""
SELECT {_COLUMNS} FROM erasures WHERE world_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_OF_STATE = f"""
SELECT {_COLUMNS} FROM erasures WHERE world_id = $1 AND state = $6 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

# One walk for each of the states $7, so that one index serves this list with a state and without.
LIST_OF_TYPE = f"""
SELECT {_COLUMNS} FROM unnest($7::text[]) AS wanted (state_of_walk) CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM erasures
    WHERE world_id = $1 AND resource_type = $6 AND state = state_of_walk AND (created_at, id) < ($2, $3)
    ORDER BY created_at DESC, id DESC LIMIT $4::bigint + $5::bigint
) walked
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

# A resource has one entry. Its id tells its type; the type is named for the index.
LIST_OF_RESOURCE = f"""
SELECT {_COLUMNS} FROM erasures WHERE world_id = $1 AND resource_id = $8
  AND resource_type IN ('recording', 'end_user', 'media') AND (created_at, id) < ($2, $3)
  AND ($6::text IS NULL OR resource_type = $6) AND state = ANY($7::text[]) AND {PLANNED_ANEW}
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

READ_UNFINISHED = """
SELECT resource_type, resource_id, reason, state, prefixes, links_expire_at FROM erasures
WHERE world_id = $1 AND id = $2 AND state IN ('open', 'erased')
"""

ADD_ERASED = """
UPDATE erasures SET objects_erased = objects_erased + $3 WHERE world_id = $1 AND id = $2
"""

SET_ERASED = """
UPDATE erasures SET state = 'erased', first_empty_at = $3, due_at = $4
WHERE world_id = $1 AND id = $2 AND state = 'open'
"""

SET_DUE = """
UPDATE erasures SET due_at = $3 WHERE world_id = $1 AND id = $2 AND state IN ('open', 'erased')
"""

# Closes an entry only if no worker has the audio on its disk.
SET_CLOSED = f"""
UPDATE erasures e SET state = 'closed', closed_at = $3
WHERE e.world_id = $1 AND e.id = $2 AND e.state = 'erased' AND NOT {COPIED}
RETURNING e.id
"""

# Over all worlds, because the worker's rounds serve the whole server.
FIND_DUE = """
SELECT world_id, id FROM erasures
WHERE resource_type <> 'end_user' AND state <> 'closed' AND due_at <= $1 ORDER BY due_at LIMIT $2
"""

FIND_OPEN_OF_END_USER = """
SELECT id FROM erasures
WHERE world_id = $1 AND end_user_id = $2 AND state = 'open' AND id > $3 ORDER BY id LIMIT $4
"""

FIND_END_USER = """
SELECT end_user_id FROM erasures
WHERE world_id = $1 AND resource_type = 'recording' AND resource_id = $2 AND end_user_id IS NOT NULL
"""

# End users whose recordings are not all in the ledger, and whose job has made no progress for a while.
FIND_ENTERING = """
SELECT world_id, resource_id FROM erasures WHERE NOT entered AND due_at <= $1 ORDER BY due_at LIMIT $2
"""

# $3: whether this was the last batch; $4: when another worker takes over if this worker does not continue.
SET_ENTERED = """
UPDATE erasures SET entered = $3, due_at = $4
WHERE world_id = $1 AND resource_type = 'end_user' AND resource_id = $2 AND NOT entered
RETURNING created_at, requested_by_kind, requested_by_id
"""

# The end user's entry waits while a hold keeps one of the recordings.
SET_HELD = """
UPDATE erasures e SET state = 'held'
WHERE e.world_id = $1 AND e.resource_type = 'end_user' AND e.resource_id = $2 AND e.state = 'open'
  AND EXISTS (
    SELECT FROM erasures own
    WHERE own.world_id = e.world_id AND own.end_user_id = e.resource_id AND own.state = 'held')
"""

RESUME = """
UPDATE erasures SET state = 'open', released_at = $3, due_at = $4
WHERE world_id = $1 AND resource_type = 'recording' AND resource_id = ANY($2::text[]) AND state = 'held'
"""

# The job that enters the last recordings, and the jobs of released holds, decide one after the other.
LOCK_END_USER_ENTRY = """
SELECT id FROM erasures WHERE world_id = $1 AND resource_type = 'end_user' AND resource_id = $2 FOR UPDATE
"""

RESUME_END_USER = f"""
UPDATE erasures e SET state = 'open', released_at = $3
WHERE e.world_id = $1 AND e.resource_type = 'end_user' AND e.resource_id = $2 AND e.state = 'held'
  AND e.entered AND NOT {kept("e")}
  AND NOT EXISTS (
    SELECT FROM erasures own
    WHERE own.world_id = e.world_id AND own.end_user_id = e.resource_id AND own.state = 'held')
RETURNING e.id
"""

# The end user's own entry names no objects; it tells the sum of what the entries of the recordings tell.
_ERASED_IN_ALL = """(
    SELECT coalesce(sum(own.objects_erased), 0) FROM erasures own
    WHERE own.world_id = e.world_id AND own.end_user_id = e.resource_id)"""

# An end user's own entry follows the entries of the end user's recordings. NOT IN keeps PostgreSQL from the
# index by state, which has the entries of all other end users and recordings too.
FOLLOW_ERASED = f"""
UPDATE erasures e SET state = 'erased', first_empty_at = $1, objects_erased = {_ERASED_IN_ALL}
WHERE e.resource_type = 'end_user' AND e.state NOT IN ('held', 'erased', 'closed') AND e.entered
  AND NOT EXISTS (SELECT FROM erasures own WHERE own.world_id = e.world_id
    AND own.end_user_id = e.resource_id AND own.state NOT IN ('erased', 'closed'))
"""
FOLLOW_CLOSED = f"""
UPDATE erasures e SET state = 'closed', closed_at = $1, objects_erased = {_ERASED_IN_ALL}
WHERE e.resource_type = 'end_user' AND e.state NOT IN ('open', 'held', 'closed')
  AND NOT EXISTS (SELECT FROM erasures own WHERE own.world_id = e.world_id
    AND own.end_user_id = e.resource_id AND own.state <> 'closed')
"""


async def open_recordings(
    connection: Connection,
    world_id: int,
    entries: Sequence[tuple[str, RecordingToErase]],
    end_user_id: str | None,
    now: datetime,
    due_at: datetime,
    *,
    cause: Cause,
) -> None:
    """Write entries: the id of each, and its recording."""
    recordings = [recording for _, recording in entries]
    await connection.execute(
        OPEN_RECORDINGS,
        world_id,
        [entry_id for entry_id, _ in entries],
        [each.id for each in recordings],
        [each.prefixes[0] for each in recordings],
        [each.prefixes[1] for each in recordings],
        [each.links_expire_at for each in recordings],
        end_user_id,
        now,
        due_at,
        cause.reason,
        cause.kind,
        cause.id,
        [each.end_user_id if each.held else None for each in recordings],
        [each.media_id for each in recordings],
        [each.prefixes[2] for each in recordings],
    )


async def open_end_user(
    connection: Connection,
    world_id: int,
    entry_id: str,
    end_user_id: str,
    now: datetime,
    *,
    cause: Cause,
    held: bool,
) -> None:
    """Write the ledger entry of an end user, before anything is erased. `held`: a hold keeps the end user."""
    state: State = "held" if held else "open"
    await connection.execute(
        OPEN_END_USER, world_id, entry_id, end_user_id, now, cause.reason, cause.kind, cause.id, state
    )


async def list_page(
    connection: Connection,
    world_id: int,
    asked: PageWindow,
    *,
    state: State | None,
    resource_type: Subject | None,
    resource_id: str | None,
) -> list[ErasureRow]:
    """Rows of one page, plus one that tells whether more follow. A filter of None admits any row."""
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    of = (*window, resource_type, get_args(State) if state is None else (state,))
    if resource_id is not None:
        return await fetch_rows(connection, ErasureRow, LIST_OF_RESOURCE, *of, resource_id)
    if resource_type is not None:
        return await fetch_rows(connection, ErasureRow, LIST_OF_TYPE, *of)
    if state is not None:
        return await fetch_rows(connection, ErasureRow, LIST_OF_STATE, *window, state)
    return await fetch_rows(connection, ErasureRow, LIST, *window)


async def read_unfinished(connection: Connection, world_id: int, entry_id: str) -> OpenErasureRow | None:
    """An entry that is not closed."""
    return await fetch_row(connection, OpenErasureRow, READ_UNFINISHED, world_id, entry_id)


async def add_erased(connection: Connection, world_id: int, entry_id: str, objects: int) -> None:
    """Count deleted objects."""
    await connection.execute(ADD_ERASED, world_id, entry_id, objects)


async def set_erased(
    connection: Connection, world_id: int, entry_id: str, now: datetime, due_at: datetime
) -> None:
    """Store that a listing was empty at `now`; the entry is due again at `due_at`."""
    await connection.execute(SET_ERASED, world_id, entry_id, now, due_at)


async def set_due(connection: Connection, world_id: int, entry_id: str, due_at: datetime) -> None:
    """Set the time at which the entry is due again."""
    await connection.execute(SET_DUE, world_id, entry_id, due_at)


async def set_closed(connection: Connection, world_id: int, entry_id: str, now: datetime) -> bool:
    """Close an erased entry. False when a worker still has a copy of the recording."""
    return await connection.fetchval(SET_CLOSED, world_id, entry_id, now) is not None


async def find_due(connection: Connection, now: datetime, limit: int) -> list[DueRow]:
    """Entries of recordings that are due, most overdue first."""
    return await fetch_rows(connection, DueRow, FIND_DUE, now, limit)


async def find_open_of_end_user(
    connection: Connection, world_id: int, end_user_id: str, after: str, limit: int
) -> list[str]:
    """Entries of a deleted end user's recordings that may still have objects, in order of id."""
    return await fetch_values(connection, str, FIND_OPEN_OF_END_USER, world_id, end_user_id, after, limit)


async def find_entering(connection: Connection, now: datetime, limit: int) -> list[EnteringRow]:
    """Deleted end users whose deletion no worker continues."""
    return await fetch_rows(connection, EnteringRow, FIND_ENTERING, now, limit)


async def find_end_user(connection: Connection, world_id: int, recording_id: str) -> str | None:
    """The end user of a recording's entry; None when the entry names no end user, or there is no entry."""
    return await fetch_value(connection, str, FIND_END_USER, world_id, recording_id)


async def set_entered(
    connection: Connection, world_id: int, end_user_id: str, due_at: datetime, *, last: bool
) -> DeletedEndUserRow | None:
    """Store that one more batch of an end user's recordings is in the ledger. `last`: it was the last batch.

    Returns the end user's deletion; None when all recordings were entered before.
    """
    return await fetch_row(connection, DeletedEndUserRow, SET_ENTERED, world_id, end_user_id, last, due_at)


async def set_held(connection: Connection, world_id: int, end_user_id: str) -> None:
    """Set the entry of a deleted end user to `held` if a hold keeps one of its recordings."""
    await connection.execute(SET_HELD, world_id, end_user_id)


async def resume(
    connection: Connection, world_id: int, recording_ids: Sequence[str], now: datetime, due_at: datetime
) -> None:
    """Open the held entries of these recordings: their objects may be erased now."""
    await connection.execute(RESUME, world_id, list(recording_ids), now, due_at)


async def resume_end_user(connection: Connection, world_id: int, end_user_id: str, now: datetime) -> bool:
    """Open the held entry of an end user. False while a hold keeps the end user or one of its recordings."""
    await connection.execute(LOCK_END_USER_ENTRY, world_id, end_user_id)
    return await connection.fetchval(RESUME_END_USER, world_id, end_user_id, now) is not None


async def follow(connection: Connection, now: datetime) -> None:
    """Set the entry of each end user to the state that all its recordings' entries have reached."""
    await connection.execute(FOLLOW_ERASED, now)
    await connection.execute(FOLLOW_CLOSED, now)
