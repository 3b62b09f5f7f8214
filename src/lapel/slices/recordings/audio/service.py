"""A recording's audio, for slices that process it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.slices.recordings.access import Reach, no_audio, reach, unknown
from lapel.slices.recordings.audio import audio_queries

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.audio.audio_queries import AudioRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """An uploaded audio and the recording that it belongs to; `size` is in bytes.

    `claimed_ms`: the duration that a client declared, else the measured one; None if neither is known.
    """

    world_id: int
    recording_id: str
    end_user_id: str
    device_id: str | None
    name: str | None
    recorded_at: datetime
    media_id: str
    object_key: str
    content_type: str
    size: int
    claimed_ms: int | None


async def find_audio(connection: Connection, actor: Actor, recording_id: str, *, lock: bool = False) -> Audio:
    """The uploaded audio of a recording that the caller may see.

    `lock`: lock the recording until the transaction ends. Raises NotFound when the caller reaches no such
    recording, and MediaNotUploaded when no audio is uploaded yet or the audio was erased.
    """
    at = reach(actor, recording_id)
    row = await audio_queries.find(connection, at, lock=lock)
    if row is None:
        raise unknown()
    audio = _audio(row)
    if audio is None:
        raise no_audio(row.audio_erased_at)
    return audio


async def audio_of(
    connection: Connection, world_id: int, recording_id: str, media_id: str, *, lock: bool = False
) -> Audio | None:
    """The audio, for jobs that process it; None when the audio or its recording is deleted."""
    row = await audio_queries.find(connection, Reach(world_id, recording_id), lock=lock)
    return _audio(row) if row is not None and row.media_id == media_id else None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRecording:
    """A recording that is not deleted: whose it is, and the device that made it."""

    end_user_id: str
    device_id: str | None


async def lock_recording(connection: Connection, world_id: int, recording_id: str) -> KnownRecording | None:
    """Lock a recording until the transaction ends, with or without an audio; None when it is deleted."""
    row = await audio_queries.find(connection, Reach(world_id, recording_id), lock=True)
    return None if row is None else KnownRecording(end_user_id=row.end_user_id, device_id=row.device_id)


def _audio(row: AudioRow) -> Audio | None:
    media_id, key, size = row.media_id, row.object_key, row.file_size_bytes
    if media_id is None or key is None or row.content_type is None or size is None:
        return None
    return Audio(
        world_id=row.world_id,
        recording_id=row.id,
        end_user_id=row.end_user_id,
        device_id=row.device_id,
        name=row.name,
        recorded_at=row.recorded_at or row.created_at,
        media_id=media_id,
        object_key=key,
        content_type=row.content_type,
        size=size,
        claimed_ms=row.claimed_duration_ms,
    )
