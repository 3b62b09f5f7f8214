"""From rows to the contract's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.http.input.fields import raw
from lapel.slices.recordings.wire import Media, Recording

if TYPE_CHECKING:
    from collections.abc import Collection

    from lapel.foundation.core.actors import Actor
    from lapel.slices.recordings.rows import RecordingRow

# What people wrote about a recording, and when it was made; with what a caller sees who may not read it.
# docs/decisions/0030 gives the reasons.
_ONLY_FOR_READERS = {
    "name": None,
    "metadata": msgspec.Raw(b"{}"),
    "started_at": None,
    "ended_at": None,
    "recorded_at": None,
    "transcription_id": None,
}

_decode_media = msgspec.json.Decoder(list[Media]).decode


def recording_of(row: RecordingRow, project_id: str) -> Recording:
    """A recording as every answer and event shows it."""
    return Recording(
        id=row.id,
        project_id=project_id,
        device_id=row.device_id,
        end_user_id=row.end_user_id,
        name=row.name,
        status=row.status,
        source=row.source,
        upload_method=row.upload_method,
        duration_ms=row.duration_ms,
        claimed_duration_ms=row.claimed_duration_ms,
        duration_seconds=None if row.duration_ms is None else whole_seconds(row.duration_ms),
        started_at=timestamp_or_none(row.started_at),
        ended_at=timestamp_or_none(row.ended_at),
        recorded_at=timestamp_or_none(row.recorded_at),
        transcription_id=row.transcription_id,
        media=[] if row.media is None else _decode_media(row.media),
        metadata=raw(row.metadata),
        content_sha256=row.content_sha256,
        content_sha256_verified_at=timestamp_or_none(row.content_sha256_verified_at),
        file_size_bytes=row.file_size_bytes,
        mime_type=row.mime_type,
        recording_uuid=row.recording_uuid,
        recording_generation=row.recording_generation,
        encryption_version=row.encryption_version,
        consent_obtained=row.consent_obtained,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        uploaded_at=timestamp_or_none(row.uploaded_at),
    )


def shown_to(actor: Actor, recording: Recording, given: Collection[str] = ()) -> Recording:
    """The answer to a caller that writes a recording, which shows nothing that the caller may not read.

    `given`: the fields whose values the caller sent, and so knows.
    """
    if actor.kind != "upload" and (actor.kind != "key" or "recordings:read" in actor.scopes):
        return recording
    hidden = {name: value for name, value in _ONLY_FOR_READERS.items() if name not in given}
    media = [msgspec.structs.replace(each, captured_at=None) for each in recording.media]
    return msgspec.structs.replace(recording, media=media, **hidden)


def whole_seconds(milliseconds: int) -> int:
    """The duration in whole seconds, rounded half up as clients do."""
    return (milliseconds + 500) // 1000
