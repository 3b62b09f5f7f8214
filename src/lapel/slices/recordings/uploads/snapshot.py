"""The state that a completion reads: a recording, its media, and the attempts that may complete them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.recordings.access import unknown
from lapel.slices.recordings.uploads import media_queries
from lapel.slices.recordings.uploads.facts import Facts
from lapel.slices.recordings.uploads.rows import AttemptRow, MediaRow

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.recordings.access import Reach
    from lapel.slices.recordings.content_types import MediaType
    from lapel.slices.recordings.uploads.media_states import AttemptState, MediaStatus
    from lapel.slices.recordings.uploads.rows import RecordingStateRow, RefusalRow
    from lapel.slices.recordings.wire import RecordingStatus

_decode_media = msgspec.json.Decoder(list[MediaRow]).decode
_decode_attempts = msgspec.json.Decoder(list[AttemptRow]).decode


@dataclass(frozen=True, slots=True)
class Attempt:
    """One upload URL: the key of its object, its declared facts, and the facts that a job expects."""

    id: str
    media_id: str
    staging_key: str
    content_type: str
    state: AttemptState
    declared: Facts
    expected: Facts


@dataclass(frozen=True, slots=True)
class MediaState:
    """One media, and the attempts that may complete it, newest first. `failure`: why it has failed."""

    id: str
    type: MediaType
    status: MediaStatus
    known: Facts
    failure: str | None
    uploaded_at: datetime | None
    last_url_expires_at: datetime
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """The facts with which an object of a media was compared, and why and when it was refused."""

    media_id: str
    failure: str | None
    facts: Facts
    at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a recording at one moment."""

    at: Reach
    project_id: str
    end_user_id: str
    device_id: str | None
    binding_generation: int | None
    upload_method: str | None
    status: RecordingStatus
    media: tuple[MediaState, ...]
    # The facts of an audio that was uploaded and has been erased since; None: no audio has been erased.
    erased_audio: Facts | None = None

    @property
    def audio(self) -> MediaState | None:
        """The one audio, if there is one."""
        return next((each for each in self.media if each.type == "audio"), None)

    def having(self, status: MediaStatus) -> tuple[MediaState, ...]:
        """The media of one status."""
        return tuple(each for each in self.media if each.status == status)


async def look(connection: Connection, at: Reach) -> Snapshot:
    """Read a recording's state at one moment. Raises NotFound when `at` reaches no recording.

    One statement reads it all. If there were several, a completion could commit between two of them, and the
    recording would seem to be pending without a pending media.
    """
    recording = await media_queries.read_state(connection, at)
    if recording is None:
        raise unknown()
    attempts: dict[str, list[Attempt]] = {}
    for row in [] if recording.attempts is None else _decode_attempts(recording.attempts):
        attempts.setdefault(row.media_id, []).append(_attempt(row))
    media = [] if recording.media is None else _decode_media(recording.media)
    return Snapshot(
        at,
        recording.project_id,
        recording.end_user_id,
        recording.device_id,
        recording.binding_generation,
        recording.upload_method,
        recording.status,
        tuple(_media(row, tuple(attempts.get(row.id, ()))) for row in media),
        _erased_audio(recording),
    )


async def refusals(connection: Connection, at: Reach) -> tuple[Rejection, ...]:
    """The facts with which the refused objects of this recording were compared, newest first."""
    rows = await media_queries.read_refusals(connection, at)
    return tuple(Rejection(row.media_id, row.failure, _expected(row), row.refused_at) for row in rows)


def _erased_audio(row: RecordingStateRow) -> Facts | None:
    if row.audio_erased_at is None:
        return None
    return Facts(
        sha256=row.content_sha256,
        size=row.file_size_bytes,
        duration_ms=row.duration_ms,
        claimed_duration_ms=row.claimed_duration_ms,
    )


def _media(row: MediaRow, attempts: tuple[Attempt, ...]) -> MediaState:
    known = Facts(
        sha256=row.sha256,
        size=row.file_size_bytes,
        duration_ms=row.duration_ms,
        claimed_duration_ms=row.claimed_duration_ms,
    )
    return MediaState(
        row.id,
        row.type,
        row.status,
        known,
        row.failure,
        row.uploaded_at,
        row.last_url_expires_at,
        attempts,
    )


def _attempt(row: AttemptRow) -> Attempt:
    return Attempt(
        row.id,
        row.media_id,
        row.staging_key,
        row.content_type,
        row.state,
        Facts(sha256=row.sha256, size=row.file_size_bytes),
        _expected(row),
    )


def _expected(row: AttemptRow | RefusalRow) -> Facts:
    return Facts(sha256=row.expected_sha256, size=row.expected_size, duration_ms=row.expected_duration_ms)
