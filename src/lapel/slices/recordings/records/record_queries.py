"""The SQL that creates, changes and lists recordings, and all SQL that sets a recording's status.

Reads include the media. Only uploads/media_states.py changes the states of media.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_found, fetch_row, fetch_rows, fetch_value
from lapel.slices.erasure.service import ENTERING
from lapel.slices.recordings.access import PRESENT
from lapel.slices.recordings.rows import RecordingRow
from lapel.slices.recordings.wire import RecordingStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.wire import Source

# Media are read as the contract's JSON, so a page of recordings needs neither a second query nor a conversion
# of its media. A media that is being verified is shown as pending.
_COLUMNS = """
r.id, r.end_user_id, r.device_id, r.name, r.status, r.source, r.upload_method, r.duration_ms,
r.claimed_duration_ms, r.started_at, r.ended_at, r.recorded_at, r.transcription_id, r.metadata,
r.content_sha256, r.content_sha256_verified_at, r.file_size_bytes, r.mime_type, r.recording_uuid,
r.recording_generation, r.encryption_version, r.consent_obtained, r.created_at, r.updated_at, r.uploaded_at
"""

_WITH_MEDIA = """
LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'id', m.id, 'type', m.type, 'mime_type', m.content_type, 'file_size_bytes', m.file_size_bytes,
        'status', CASE m.status WHEN 'verifying' THEN 'pending' ELSE m.status END,
        'captured_at', to_char(m.captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'duration_ms', m.duration_ms, 'sha256', m.sha256,
        'created_at', to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    ) ORDER BY m.created_at, m.id) AS media
    FROM media m WHERE m.world_id = r.world_id AND m.recording_id = r.id
) own ON true
"""

# $3: the only end user whose recordings the caller may see. $4, $5: the calling device and its binding. NULL:
# any.
REACHED = f"""
r.world_id = $1 AND r.id = $2 AND ($3::text IS NULL OR r.end_user_id = $3)
    AND ($4::text IS NULL OR (r.device_id = $4 AND r.binding_generation = $5::integer)) AND {PRESENT}
"""

# For each row of the arrays $1 to $5, as `REACHED`. The sub-selects hide the lengths of the arrays from the
# planner, which would otherwise plan each execution anew.
READ = f"""
SELECT {_COLUMNS}, own.media, asked.place
FROM unnest((SELECT $1::bigint[]), (SELECT $2::text[]), (SELECT $3::text[]), (SELECT $4::text[]),
    (SELECT $5::integer[])) WITH ORDINALITY
    AS asked (world_id, recording_id, end_user_id, device_id, binding_generation, place)
JOIN recordings r ON r.world_id = asked.world_id AND r.id = asked.recording_id
{_WITH_MEDIA}
WHERE (asked.end_user_id IS NULL OR r.end_user_id = asked.end_user_id)
    AND (asked.device_id IS NULL
        OR (r.device_id = asked.device_id AND r.binding_generation = asked.binding_generation))
    AND {PRESENT}
"""

# Locked until the transaction ends. Rows that refer to the recording (transcriptions) may still be written.
LOCK = f"""
SELECT r.end_user_id, r.device_id, r.name, r.status, r.started_at, r.ended_at, r.audio_erased_at,
    w.project_id
FROM recordings r JOIN worlds w ON w.id = r.world_id WHERE {REACHED} FOR NO KEY UPDATE OF r
"""

INSERT = """
INSERT INTO recordings (world_id, id, end_user_id, device_id, name, status, source, upload_method,
    started_at, ended_at, recorded_at, metadata, consent_obtained, recording_uuid, recording_generation,
    encryption_version, binding_generation, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17)
ON CONFLICT DO NOTHING
RETURNING id
"""

# The conditions match the unique index, in which two absent generations are equal.
FIND_BY_UUID = f"""
SELECT {_COLUMNS}, own.media FROM recordings r {_WITH_MEDIA}
WHERE r.world_id = $1 AND r.device_id = $2 AND r.recording_uuid = $3
  AND r.recording_generation IS NOT DISTINCT FROM $4 AND r.deleted_at IS NULL
"""

# Every object that the store must hold: world, key, bytes, SHA-256, content type.
PROMISED_MEDIA = """
SELECT world_id, object_key, file_size_bytes, sha256, content_type
FROM media
WHERE status = 'uploaded' AND object_key IS NOT NULL
"""

# For the usage of a world ($1). `going` has the deleted recordings that still have rows; they do not count. A
# job removes the recordings of a deleted end user in batches, and a legal hold keeps hidden recordings.
GOING = f"""going AS MATERIALIZED (
    SELECT r.id FROM ({ENTERING}) x JOIN recordings r ON r.world_id = $1 AND r.end_user_id = x.resource_id
    WHERE r.deleted_at IS NULL
    UNION ALL
    SELECT r.id FROM recordings r WHERE r.world_id = $1 AND r.deleted_at IS NOT NULL
)"""
COUNT_PRESENT = "(SELECT count(*) FROM recordings r WHERE r.world_id = $1) - (SELECT count(*) FROM going)"
PRESENT_BYTES = """(SELECT coalesce(sum(m.file_size_bytes), 0)::bigint FROM media m
    WHERE m.world_id = $1 AND m.status = 'uploaded'
      AND NOT EXISTS (SELECT FROM going g WHERE g.id = m.recording_id))"""

# For a heartbeat's statement: the recording that the device `d` makes now. $3 is the present time. The
# recording belongs to the device's present binding and has no end yet. Its row was created less than
# five minutes before the device began to record, or later.
ACTIVE_RECORDING = """(
    SELECT r.id FROM recordings r
    WHERE r.world_id = d.world_id AND r.device_id = d.id AND r.end_user_id = d.end_user_id
      AND r.binding_generation = d.binding_generation
      AND r.status = 'pending' AND r.ended_at IS NULL AND r.deleted_at IS NULL
      AND r.created_at > coalesce(d.active_since, $3) - interval '5 minutes'
    ORDER BY r.created_at DESC, r.id DESC LIMIT 1)"""

# A device that is bound to the same end user again may repeat a recording of its earlier binding.
ADOPT = """
UPDATE recordings SET binding_generation = $3
WHERE world_id = $1 AND id = $2 AND (binding_generation IS NULL OR binding_generation < $3)
"""

# $4, $6, $8 and $10 say whether the request has the field.
UPDATE = """
UPDATE recordings SET
    updated_at = $3,
    name = CASE WHEN $4::boolean THEN $5 ELSE name END,
    metadata = CASE WHEN $6::boolean THEN $7 ELSE metadata END,
    started_at = CASE WHEN $8::boolean THEN $9 ELSE started_at END,
    ended_at = CASE WHEN $10::boolean THEN $11 ELSE ended_at END
WHERE world_id = $1 AND id = $2
"""

# The completion that verifies the audio sets the audio's facts. NULL leaves a fact as it is.
SET_UPLOADED = """
UPDATE recordings SET status = 'uploaded', updated_at = $3, uploaded_at = COALESCE(uploaded_at, $3),
    content_sha256 = COALESCE($4, content_sha256),
    content_sha256_verified_at = CASE WHEN $4::text IS NULL THEN content_sha256_verified_at ELSE $3 END,
    file_size_bytes = COALESCE($5, file_size_bytes),
    mime_type = COALESCE($6, mime_type),
    duration_ms = COALESCE($7, duration_ms),
    encryption_version = COALESCE($8, encryption_version)
WHERE world_id = $1 AND id = $2
"""

# An uploaded recording stays uploaded, even if a media that is added later fails.
SET_STATUS = """
UPDATE recordings SET status = $3, updated_at = $4
WHERE world_id = $1 AND id = $2 AND status <> 'uploaded' AND status <> $3
RETURNING id
"""

_FILTERS = {
    "end_user_id": "r.end_user_id = ${}",
    "device_id": "r.device_id = ${}",
    "status": "r.status = ${}",
    "recorded_after": "r.recorded_at >= ${}",
    "recorded_before": "r.recorded_at < ${}",
}
_FIRST_FILTER = 6
# A list by time always has both limits: a prepared plan takes a range without an end for a third of all rows.
_BY_TIME = {
    "recorded_after": datetime.min.replace(tzinfo=UTC),
    "recorded_before": datetime.max.replace(tzinfo=UTC),
}


def _conditions(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each filter's name and its condition, with the number of its parameter."""
    return [(name, _FILTERS[name].format(number)) for number, name in enumerate(names, _FIRST_FILTER)]


def _list(names: tuple[str, ...]) -> str:
    """The statement for one set of filters. Unlike a statement with `OR`, its prepared plan uses an index."""
    filters = "".join(f" AND {condition}" for _, condition in _conditions(names))
    return f"""
SELECT {_COLUMNS}, own.media FROM (
    SELECT r.world_id, {_COLUMNS} FROM recordings r
    WHERE r.world_id = $1 AND (r.created_at, r.id) < ($2, $3){filters} AND {PRESENT}
    ORDER BY r.created_at DESC, r.id DESC LIMIT $4 OFFSET $5
) r {_WITH_MEDIA} ORDER BY r.created_at DESC, r.id DESC
"""


LISTS: dict[tuple[str, ...], str] = {
    names: _list(names)
    for count in range(len(_FILTERS) + 1)
    for names in combinations(_FILTERS, count)
    if len(_BY_TIME.keys() & names) != 1
}
# The lists by time, of the newest recordings only. A list is in the order of creation, and no index has both
# this order and `recorded_at`. So a statement of `LISTS` sorts all recordings of a range, although the newest
# recordings usually fill a page.
_NEWEST_READ = 500


def _newest(names: tuple[str, ...]) -> str:
    """The statement of `_list` that reads the newest recordings before the page's place, and no others."""
    conditions = _conditions(names)
    indexed = "".join(f" AND {each}" for name, each in conditions if name not in _BY_TIME)
    of_time = " AND ".join(each for name, each in conditions if name in _BY_TIME)
    return f"""
SELECT {_COLUMNS}, own.media FROM (
    SELECT * FROM (
        SELECT r.world_id, {_COLUMNS} FROM recordings r
        WHERE r.world_id = $1 AND (r.created_at, r.id) < ($2, $3){indexed} AND {PRESENT}
        ORDER BY r.created_at DESC, r.id DESC LIMIT {_NEWEST_READ}
    ) r WHERE {of_time} ORDER BY r.created_at DESC, r.id DESC LIMIT $4 OFFSET $5
) r {_WITH_MEDIA} ORDER BY r.created_at DESC, r.id DESC
"""


NEWEST: dict[tuple[str, ...], str] = {names: _newest(names) for names in LISTS if _BY_TIME.keys() & names}


class FoundRecordingRow(RecordingRow, frozen=True):
    """The recording of one of several questions. `place`: the question, counted from 1."""

    place: int


class LockedRow(msgspec.Struct, frozen=True):
    """The end user, device, name, status, times and project of a locked recording."""

    end_user_id: str
    device_id: str | None
    name: str | None
    status: RecordingStatus
    started_at: datetime | None
    ended_at: datetime | None
    audio_erased_at: datetime | None
    project_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecording:
    """A recording as it is announced; `metadata` is JSON text."""

    end_user_id: str
    device_id: str | None
    # The device's binding to this end user; None when the device is not bound to it.
    binding_generation: int | None
    name: str | None
    source: Source
    upload_method: str | None
    started_at: datetime | None
    ended_at: datetime | None
    recorded_at: datetime | None
    metadata: str
    consent_obtained: bool
    recording_uuid: str | None
    recording_generation: int | None
    encryption_version: int | None


def reached(at: Reach) -> tuple[int, str, str | None, str | None, int | None]:
    """The parameters $1 to $5 of `REACHED`."""
    return at.world_id, at.recording_id, at.end_user_id, at.device_id, at.binding_generation


async def read(connection: Connection, asked: Sequence[Reach]) -> list[FoundRecordingRow | None]:
    """Each recording with its media; None when the caller does not reach it."""
    return await fetch_found(
        connection, FoundRecordingRow, READ, len(asked), *map(list, zip(*map(reached, asked), strict=True))
    )


async def read_one(connection: Connection, at: Reach) -> RecordingRow | None:
    """One recording with its media; None when the caller does not reach it."""
    return (await read(connection, [at]))[0]


async def lock(connection: Connection, at: Reach) -> LockedRow | None:
    """Lock a recording until the transaction ends. None when the caller does not reach the recording."""
    return await fetch_row(connection, LockedRow, LOCK, *reached(at))


async def insert(
    connection: Connection, world_id: int, recording_id: str, new: NewRecording, now: datetime
) -> bool:
    """Insert a recording. False when the device has a recording of this uuid and generation."""
    inserted = await fetch_value(
        connection,
        str,
        INSERT,
        world_id,
        recording_id,
        new.end_user_id,
        new.device_id,
        new.name,
        new.source,
        new.upload_method,
        new.started_at,
        new.ended_at,
        new.recorded_at,
        new.metadata,
        new.consent_obtained,
        new.recording_uuid,
        new.recording_generation,
        new.encryption_version,
        new.binding_generation,
        now,
    )
    return inserted is not None


async def find_by_uuid(
    connection: Connection, world_id: int, device_id: str, recording_uuid: str, generation: int | None
) -> RecordingRow | None:
    """The recording that a device already announced under this uuid and generation."""
    return await fetch_row(
        connection, RecordingRow, FIND_BY_UUID, world_id, device_id, recording_uuid, generation
    )


async def adopt(connection: Connection, world_id: int, recording_id: str, binding_generation: int) -> None:
    """Move a recording to a later binding of its device."""
    await connection.execute(ADOPT, world_id, recording_id, binding_generation)


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, filters: Mapping[str, object | None]
) -> list[RecordingRow]:
    """The rows of one page with their media, and one more row if another page follows.

    `filters` maps a filter's name to its value; None: no filter.
    """
    given = {name: value for name, value in filters.items() if value is not None}
    if _BY_TIME.keys() & given:
        given = _BY_TIME | given
    given = {name: given[name] for name in _FILTERS if name in given}
    names = tuple(given)
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset, *given.values())
    if names in NEWEST:
        rows = await fetch_rows(connection, RecordingRow, NEWEST[names], *window)
        if len(rows) == asked.fetch:
            return rows
    return await fetch_rows(connection, RecordingRow, LISTS[names], *window)


async def update(
    connection: Connection,
    at: Reach,
    now: datetime,
    *,
    name: tuple[bool, str | None],
    metadata: tuple[bool, str],
    started_at: tuple[bool, datetime | None],
    ended_at: tuple[bool, datetime | None],
) -> None:
    """Change a locked recording. Each field is a pair: whether the request has it, and its value."""
    await connection.execute(
        UPDATE, at.world_id, at.recording_id, now, *name, *metadata, *started_at, *ended_at
    )


async def set_uploaded(
    connection: Connection,
    world_id: int,
    recording_id: str,
    now: datetime,
    *,
    audio_sha256: str | None,
    audio_size: int | None,
    audio_type: str | None,
    audio_duration_ms: int | None,
    encryption_version: int | None = None,
) -> None:
    """Set a recording to `uploaded`, with the verified facts of its audio. None leaves a fact as it is.

    `audio_sha256` is hexadecimal, `audio_size` in bytes.
    """
    await connection.execute(
        SET_UPLOADED,
        world_id,
        recording_id,
        now,
        audio_sha256,
        audio_size,
        audio_type,
        audio_duration_ms,
        encryption_version,
    )


async def set_status(
    connection: Connection, world_id: int, recording_id: str, status: RecordingStatus, now: datetime
) -> bool:
    """Set the status. False when it does not change; the status of an uploaded recording never changes."""
    return await fetch_value(connection, str, SET_STATUS, world_id, recording_id, status, now) is not None
