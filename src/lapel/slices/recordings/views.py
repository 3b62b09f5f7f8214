"""From rows to the contract's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.http.input.fields import raw
from lapel.foundation.timed_warnings import warnings_in
from lapel.slices.recordings.wire import Media, Recording

if TYPE_CHECKING:
    from collections.abc import Collection

    from lapel.foundation.core.actors import Actor
    from lapel.slices.recordings.rows import RecordingRow, RecordingRows

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

# The most bytes of the answer to an announcement: phones read no more.
_MOST_ANNOUNCED = 65_536


def recording_of(found: RecordingRows, project_id: str) -> Recording:
    """A recording as every answer and event shows it."""
    row = found.rows[0]
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
        media=[each for each in map(_media, found.rows) if each is not None],
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
        damaged=row.damaged,
        warnings=warnings_in(next((each.warnings for each in found.rows if each.warnings), None)),
    )


def _media(row: RecordingRow) -> Media | None:
    status, created_at = row.media_status, row.media_created_at
    if row.media_id is None or row.media_type is None or row.media_content_type is None:
        return None
    if status is None or created_at is None:
        return None
    return Media(
        id=row.media_id,
        type=row.media_type,
        mime_type=row.media_content_type,
        file_size_bytes=row.media_size,
        status=status,
        captured_at=timestamp_or_none(row.media_captured_at),
        duration_ms=row.media_duration_ms,
        sha256=row.media_sha256,
        created_at=timestamp(created_at),
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


def announced(recording: Recording) -> Recording:
    """The answer to an announcement, with as many media as fit: the audio, then the newest ones."""
    if len(msgspec.json.encode(recording)) <= _MOST_ANNOUNCED:
        return recording
    room = _MOST_ANNOUNCED - len(msgspec.json.encode(msgspec.structs.replace(recording, media=[])))
    shown: set[str] = set()
    newest_first = reversed(recording.media)
    for each in sorted(newest_first, key=lambda media: media.type != "audio"):
        room -= len(msgspec.json.encode(each)) + len(",")
        if room < 0:
            break
        shown.add(each.id)
    return msgspec.structs.replace(recording, media=[each for each in recording.media if each.id in shown])


def whole_seconds(milliseconds: int) -> int:
    """The duration in whole seconds, rounded half up as clients do."""
    return (milliseconds + 500) // 1000
