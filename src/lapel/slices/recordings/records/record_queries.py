"""The SQL that creates, reads and changes recordings, and all SQL that sets a recording's status.

Reads include the media. list_queries.py lists recordings. Only uploads/media_states.py changes the states
of media.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.asked_rows import asked_rows, parameters
from lapel.foundation.database.rows import fetch_row, fetch_rows, fetch_value
from lapel.slices.erasure.service import ENTERING
from lapel.slices.recordings.access import PRESENT
from lapel.slices.recordings.rows import RecordingRow, RecordingRows
from lapel.slices.recordings.wire import RecordingStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.wire import Source

COLUMNS = """
r.id, r.end_user_id, r.device_id, r.name, r.status, r.source, r.upload_method, r.duration_ms,
r.claimed_duration_ms, r.started_at, r.ended_at, r.recorded_at, r.transcription_id, r.metadata,
r.content_sha256, r.content_sha256_verified_at, r.file_size_bytes, r.mime_type, r.recording_uuid,
r.recording_generation, r.encryption_version, r.consent_obtained, r.created_at, r.updated_at, r.uploaded_at,
r.damaged, r.warnings
"""

MEDIA_COLUMNS = """
m.id AS media_id, m.type AS media_type, m.content_type AS media_content_type, m.file_size_bytes AS media_size,
CASE m.status WHEN 'verifying' THEN 'pending' ELSE m.status END AS media_status,
m.captured_at AS media_captured_at, m.duration_ms AS media_duration_ms, m.sha256 AS media_sha256,
m.created_at AS media_created_at
"""
# One row for each media, because JSON of the media takes PostgreSQL longer than all other columns. The
# recording's own columns are SHOWN. OFFSET 0 keeps the planner from joining all media of the world.
WITH_MEDIA = """
LEFT JOIN LATERAL (
    SELECT * FROM media m WHERE m.world_id = r.world_id AND m.recording_id = r.id OFFSET 0
) m ON true
"""
# COLUMNS, but only the row of the audio has the warnings, and the metadata is `{}` in rows that follow the
# first row of their recording, except in that of the audio. A recording has up to 500 media, one of them the
# audio, and 16 KiB of metadata. Nearly all recordings have only the audio, for which PostgreSQL need not look
# for an earlier media.
SHOWN = COLUMNS.replace(
    "r.metadata",
    """CASE WHEN m.id IS NULL OR m.type = 'audio' OR NOT EXISTS (
        SELECT FROM media e WHERE e.world_id = m.world_id AND e.recording_id = m.recording_id
          AND (e.created_at, e.id) < (m.created_at, m.id)) THEN r.metadata ELSE '{}' END AS metadata""",
).replace("r.warnings", "CASE WHEN m.id IS NULL OR m.type = 'audio' THEN r.warnings END AS warnings")

# $3: the only end user whose recordings the caller may see. $4, $5: the calling device and its binding. NULL:
# any.
REACHED = f"""
r.world_id = $1 AND r.id = $2 AND ($3::text IS NULL OR r.end_user_id = $3)
    AND ($4::text IS NULL OR (r.device_id = $4 AND r.binding_generation = $5::integer)) AND {PRESENT}
"""

_ASKED = asked_rows(
    world_id="bigint", recording_id="text", end_user_id="text", device_id="text", binding_generation="integer"
)
# For each question, as `REACHED`.
READ = f"""
SELECT {SHOWN}, {MEDIA_COLUMNS}, asked.place
FROM {_ASKED.several}
JOIN recordings r ON r.world_id = asked.world_id AND r.id = asked.recording_id
{WITH_MEDIA}
WHERE (asked.end_user_id IS NULL OR r.end_user_id = asked.end_user_id)
    AND (asked.device_id IS NULL
        OR (r.device_id = asked.device_id AND r.binding_generation = asked.binding_generation))
    AND {PRESENT}
ORDER BY asked.place, m.created_at, m.id
"""
READ_ONE = _ASKED.alone(READ)

# Locked until the transaction ends. Rows that refer to the recording (transcriptions) may still be written.
LOCK = f"""
SELECT r.end_user_id, r.device_id, r.binding_generation, r.name, r.status, r.started_at, r.ended_at,
    r.audio_erased_at, w.project_id
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
SELECT {SHOWN}, {MEDIA_COLUMNS} FROM recordings r {WITH_MEDIA}
WHERE r.world_id = $1 AND r.device_id = $2 AND r.recording_uuid = $3
  AND r.recording_generation IS NOT DISTINCT FROM $4 AND r.deleted_at IS NULL
ORDER BY m.created_at, m.id
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
SET_UPLOADED = f"""
WITH r AS (UPDATE recordings SET status = 'uploaded', updated_at = $3,
    uploaded_at = COALESCE(uploaded_at, $3),
    content_sha256 = COALESCE($4, content_sha256),
    content_sha256_verified_at = CASE WHEN $4::text IS NULL THEN content_sha256_verified_at ELSE $3 END,
    file_size_bytes = COALESCE($5, file_size_bytes),
    mime_type = COALESCE($6, mime_type),
    duration_ms = COALESCE($7, duration_ms),
    encryption_version = COALESCE($8, encryption_version)
WHERE world_id = $1 AND id = $2 RETURNING *)
SELECT {SHOWN}, {MEDIA_COLUMNS} FROM r {WITH_MEDIA} ORDER BY m.created_at, m.id
"""

# An uploaded recording stays uploaded, even if a media that is added later fails.
SET_STATUS = """
UPDATE recordings SET status = $3, updated_at = $4
WHERE world_id = $1 AND id = $2 AND status <> 'uploaded' AND status <> $3
RETURNING id
"""


class FoundRecordingRow(RecordingRow, frozen=True):
    """The recording of one of several questions. `place`: the question, counted from 1."""

    place: int


class LockedRow(msgspec.Struct, frozen=True):
    """The end user, device, binding, name, status, times and project of a locked recording."""

    end_user_id: str
    device_id: str | None
    binding_generation: int | None
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


async def read(connection: Connection, asked: Sequence[Reach]) -> list[RecordingRows | None]:
    """Each recording with its media; None when the caller does not reach it."""
    found: list[RecordingRows | None] = [None] * len(asked)
    rows = await fetch_rows(
        connection,
        FoundRecordingRow,
        READ_ONE if len(asked) == 1 else READ,
        *parameters([*map(reached, asked)]),
    )
    for place, own in groupby(rows, attrgetter("place")):
        found[place - 1] = RecordingRows(list(own))
    return found


async def read_one(connection: Connection, at: Reach) -> RecordingRows | None:
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
) -> RecordingRows | None:
    """The recording that a device already announced under this uuid and generation."""
    rows = await fetch_rows(
        connection, RecordingRow, FIND_BY_UUID, world_id, device_id, recording_uuid, generation
    )
    return RecordingRows(rows) if rows else None


async def adopt(connection: Connection, world_id: int, recording_id: str, binding_generation: int) -> None:
    """Move a recording to a later binding of its device."""
    await connection.execute(ADOPT, world_id, recording_id, binding_generation)


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
) -> RecordingRows:
    """Set a locked recording to `uploaded`, with the verified facts of its audio. Returns it with its media.

    None leaves a fact as it is. `audio_sha256` is hexadecimal, `audio_size` in bytes.
    """
    rows = await fetch_rows(
        connection,
        RecordingRow,
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
    return RecordingRows(rows)


async def set_status(
    connection: Connection, world_id: int, recording_id: str, status: RecordingStatus, now: datetime
) -> bool:
    """Set the status. False when it does not change; the status of an uploaded recording never changes."""
    return await fetch_value(connection, str, SET_STATUS, world_id, recording_id, status, now) is not None
