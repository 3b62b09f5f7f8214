"""The rows of recordings, as all parts of the slice read them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.recordings.wire import RecordingStatus, Source


class RecordingRow(msgspec.Struct, frozen=True):
    """One recording. `metadata` and `media` are JSON texts; `media` is None for a recording without media."""

    id: str
    end_user_id: str
    device_id: str | None
    name: str | None
    status: RecordingStatus
    source: Source
    upload_method: str | None
    duration_ms: int | None
    claimed_duration_ms: int | None
    started_at: datetime | None
    ended_at: datetime | None
    recorded_at: datetime | None
    transcription_id: str | None
    metadata: str
    content_sha256: str | None
    content_sha256_verified_at: datetime | None
    file_size_bytes: int | None
    mime_type: str | None
    recording_uuid: str | None
    recording_generation: int | None
    encryption_version: int | None
    consent_obtained: bool
    created_at: datetime
    updated_at: datetime
    uploaded_at: datetime | None
    media: str | None
