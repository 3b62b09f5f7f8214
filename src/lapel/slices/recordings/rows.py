"""The rows of recordings, as all parts of the slice read them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.recordings.content_types import MediaType
from lapel.slices.recordings.wire import RecordingStatus, ShownMediaStatus, Source


class RecordingRow(msgspec.Struct, frozen=True):
    """A recording and one of its media; without media, the last fields are None.

    `metadata` is JSON text. In rows that follow the first row of their recording, it may be `{}` instead.
    `warnings` is JSON text, and None in the rows of other media than the audio.
    """

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
    damaged: bool | None
    warnings: str | None
    media_id: str | None
    media_type: MediaType | None
    media_content_type: str | None
    media_size: int | None
    media_status: ShownMediaStatus | None
    media_captured_at: datetime | None
    media_duration_ms: int | None
    media_sha256: str | None
    media_created_at: datetime | None


class RecordingRows(msgspec.Struct, frozen=True):
    """The rows of one recording: one for each of its media, in their order, or one without media."""

    rows: list[RecordingRow]

    @property
    def id(self) -> str:
        """The recording's id."""
        return self.rows[0].id

    @property
    def created_at(self) -> datetime:
        """The time of the recording's creation."""
        return self.rows[0].created_at
