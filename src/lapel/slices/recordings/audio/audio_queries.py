"""All SQL of a recording's audio, for slices that process it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.database.rows import fetch_row
from lapel.slices.recordings.access import PRESENT
from lapel.slices.recordings.uploads.media_states import MediaStatus

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach

# The project of a recording, and its one audio.
FIND_PLACE = f"""
SELECT w.project_id, m.id AS media_id, m.status, m.object_key, m.sha256, m.file_size_bytes
FROM recordings r JOIN worlds w ON w.id = r.world_id
LEFT JOIN media m ON m.world_id = r.world_id AND m.recording_id = r.id AND m.type = 'audio'
WHERE r.world_id = $1 AND r.id = $2 AND {PRESENT}
"""


class PlainAudioPlaceRow(msgspec.Struct, frozen=True):
    """A recording's project, and its one audio as it is; None where it has no audio."""

    project_id: str
    media_id: str | None
    status: MediaStatus | None
    object_key: str | None
    sha256: str | None
    file_size_bytes: int | None


class AudioRow(msgspec.Struct, frozen=True):
    """A recording and its uploaded audio. Without such an audio, the last five fields are None.

    `claimed_duration_ms`: what a client declared; the measured duration if no client did, or None before it
    is measured. `audio_erased_at`: the time at which the uploaded audio was erased.
    """

    world_id: int
    id: str
    end_user_id: str
    device_id: str | None
    name: str | None
    created_at: datetime
    recorded_at: datetime | None
    audio_erased_at: datetime | None
    media_id: str | None
    object_key: str | None
    content_type: str | None
    file_size_bytes: int | None
    claimed_duration_ms: int | None


def end_user_of_recording(row: str) -> str:
    """SQL for other slices: the end user of the recording of a row.

    `row`: the alias of the row's table, which has the columns `world_id` and `recording_id`.
    """
    return f"""(
    SELECT r.end_user_id FROM recordings r
    WHERE r.world_id = {row}.world_id AND r.id = {row}.recording_id)"""


def seen_recording(row: str, end_user: str, also: str = "true") -> str:
    """SQL for other slices: whether a caller may see the recording of a row.

    The SQL is a scalar subquery instead of a join, so it costs any statement one look-up by primary key.
    `row`: the alias of the row's table, which has the columns `world_id` and `recording_id`. `end_user`: the
    parameter with the end user whose recordings the caller may see; NULL: all. `also`: one more SQL
    condition, which may use the recording's row `r`.
    """
    return f"""(
    SELECT ({end_user}::text IS NULL OR r.end_user_id = {end_user}) AND {PRESENT} AND {also}
    FROM recordings r WHERE r.world_id = {row}.world_id AND r.id = {row}.recording_id)"""


def titled_recording(row: str, end_user: str) -> str:
    """SQL for other slices: joins the recording `r` of a row, if a caller may see the recording.

    `TITLE` has columns of `r`. `row` and `end_user` are the same as in `seen_recording`.
    """
    return f"""JOIN recordings r ON r.world_id = {row}.world_id AND r.id = {row}.recording_id
    AND ({end_user}::text IS NULL OR r.end_user_id = {end_user}) AND {PRESENT}"""


# The columns that name a recording to a reader.
TITLE = "r.name, r.recorded_at, r.created_at AS recording_created_at"

FIND_AUDIO = f"""
SELECT r.world_id, r.id, r.end_user_id, r.device_id, r.name, r.created_at, r.recorded_at, r.audio_erased_at,
    m.id AS media_id, m.object_key, m.content_type, m.file_size_bytes,
    coalesce(m.claimed_duration_ms, m.duration_ms) AS claimed_duration_ms
FROM recordings r
LEFT JOIN media m ON m.world_id = r.world_id AND m.recording_id = r.id AND m.type = 'audio'
    AND m.status = 'uploaded'
WHERE r.world_id = $1 AND r.id = $2 AND ($3::text IS NULL OR r.end_user_id = $3) AND {PRESENT}
"""
# Concurrent requests for a transcription run one after the other.
LOCK_AUDIO = f"{FIND_AUDIO} FOR NO KEY UPDATE OF r"

SET_TRANSCRIPTION = """
UPDATE recordings SET transcription_id = $3, updated_at = $4
WHERE world_id = $1 AND id = $2 AND transcription_id IS DISTINCT FROM $3
"""

# The claim of a client stays in force if it is right to a second, because clients have seen it. Another claim
# is replaced once, and kept.
_REPLACED = "(duration_ms IS NULL OR claimed_duration_ms IS NULL AND abs(duration_ms - {measured}) > 1000)"
SET_MEDIA_DURATION = f"""
UPDATE media SET claimed_duration_ms = duration_ms, duration_ms = $4
WHERE world_id = $1 AND recording_id = $2 AND id = $3 AND {_REPLACED.format(measured="$4")}
"""
_MEASURED = _REPLACED.format(measured="$3")
SET_EXAMINED = f"""
UPDATE recordings SET damaged = $5, warnings = $6,
    claimed_duration_ms = CASE WHEN {_MEASURED} THEN duration_ms ELSE claimed_duration_ms END,
    duration_ms = CASE WHEN {_MEASURED} THEN $3 ELSE duration_ms END,
    updated_at = CASE WHEN $5 OR {_MEASURED} THEN $4 ELSE updated_at END
WHERE world_id = $1 AND id = $2
"""
SET_UNREADABLE = """
UPDATE recordings SET damaged = $4, warnings = $5, updated_at = $3 WHERE world_id = $1 AND id = $2
"""


async def find(connection: Connection, at: Reach, *, lock: bool) -> AudioRow | None:
    """The recording, with its uploaded audio, if any. `lock`: lock the recording."""
    return await fetch_row(
        connection,
        AudioRow,
        LOCK_AUDIO if lock else FIND_AUDIO,
        at.world_id,
        at.recording_id,
        at.end_user_id,
    )


async def set_transcription(
    connection: Connection, world_id: int, recording_id: str, transcription_id: str, now: datetime
) -> None:
    """Set the recording's current transcription."""
    await connection.execute(SET_TRANSCRIPTION, world_id, recording_id, transcription_id, now)


async def set_examined(
    connection: Connection,
    world_id: int,
    recording_id: str,
    media_id: str,
    duration_ms: int,
    now: datetime,
    *,
    warnings: str,
    damaged: bool,
) -> None:
    """Set what was found in an audio: whether it is damaged, with the warnings as JSON, and its duration.

    The duration is that of the audio and of its recording. It stays if the known one is right to a second.
    What a client claimed stays in `claimed_duration_ms`.
    """
    await connection.execute(SET_EXAMINED, world_id, recording_id, duration_ms, now, damaged, warnings)
    await connection.execute(SET_MEDIA_DURATION, world_id, recording_id, media_id, duration_ms)


async def set_unreadable(
    connection: Connection, world_id: int, recording_id: str, now: datetime, *, warnings: str, damaged: bool
) -> None:
    """Set why the audio of a recording cannot be used, with the warnings as JSON."""
    await connection.execute(SET_UNREADABLE, world_id, recording_id, now, damaged, warnings)


async def find_place(connection: Connection, world_id: int, recording_id: str) -> PlainAudioPlaceRow | None:
    """A recording's project and audio; None when the recording is deleted."""
    return await fetch_row(connection, PlainAudioPlaceRow, FIND_PLACE, world_id, recording_id)
