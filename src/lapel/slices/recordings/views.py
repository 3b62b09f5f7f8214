"""From rows to the contract's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.http.input.fields import raw
from lapel.slices.recordings.wire import Media, Recording

if TYPE_CHECKING:
    from lapel.slices.recordings.rows import RecordingRow

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


def whole_seconds(milliseconds: int) -> int:
    """The duration in whole seconds, rounded half up as clients do."""
    return (milliseconds + 500) // 1000
