"""The rows of media and upload attempts. Sizes are in bytes, hashes are hexadecimal."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.recordings.content_types import MediaType
from lapel.slices.recordings.uploads.media_states import AttemptState, MediaStatus
from lapel.slices.recordings.wire import RecordingStatus


class MediaStatusRow(msgspec.Struct, frozen=True):
    """A media and its state."""

    id: str
    status: MediaStatus


class DeclaredRow(msgspec.Struct, frozen=True):
    """The declared facts of one upload URL."""

    content_type: str
    file_size_bytes: int | None
    sha256: str | None


class AttemptCountsRow(msgspec.Struct, frozen=True):
    """The number of attempts of a media, and the number of those attempts whose URL is still valid."""

    kept: int
    valid: int


class RecordingStateRow(msgspec.Struct, frozen=True):
    """What a completion reads of a recording. The facts are those of its audio.

    `media` (MediaRow, oldest first) and `attempts` (AttemptRow, newest first) are JSON; None: there are none.
    """

    end_user_id: str
    status: RecordingStatus
    device_id: str | None
    binding_generation: int | None
    upload_method: str | None
    project_id: str
    audio_erased_at: datetime | None
    content_sha256: str | None
    file_size_bytes: int | None
    duration_ms: int | None
    claimed_duration_ms: int | None
    media: str | None
    attempts: str | None


class MediaRow(msgspec.Struct, frozen=True):
    """What a completion reads of a media."""

    id: str
    type: MediaType
    status: MediaStatus
    file_size_bytes: int | None
    sha256: str | None
    duration_ms: int | None
    claimed_duration_ms: int | None
    failure: str | None
    uploaded_at: datetime | None
    last_url_expires_at: datetime


class AttemptRow(msgspec.Struct, frozen=True):
    """An attempt, with its declared facts and the facts that its verification expects (None: not begun)."""

    media_id: str
    id: str
    staging_key: str
    content_type: str
    file_size_bytes: int | None
    sha256: str | None
    state: AttemptState
    expected_sha256: str | None
    expected_size: int | None
    expected_duration_ms: int | None


class RefusalRow(msgspec.Struct, frozen=True):
    """The media and the facts of a refused attempt, and the reason and the time of the refusal."""

    media_id: str
    failure: str | None
    expected_sha256: str | None
    expected_size: int | None
    expected_duration_ms: int | None
    refused_at: datetime
