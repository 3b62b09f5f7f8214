"""The rows that the reconciler reads."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.recordings.uploads.media_states import AttemptState, MediaStatus


class UnfinishedRow(msgspec.Struct, frozen=True):
    """A media that is pending or being verified."""

    world_id: int
    recording_id: str
    id: str
    status: MediaStatus


class ExaminedRow(msgspec.Struct, frozen=True):
    """A media after the reconciler has tried to complete it."""

    id: str
    status: MediaStatus
    last_url_expires_at: datetime


class ServingRow(msgspec.Struct, frozen=True):
    """The media that serves an object."""

    world_id: int
    recording_id: str
    id: str


class StagedRow(msgspec.Struct, frozen=True):
    """The attempt of a staged object, and the state of its media."""

    staging_key: str
    state: AttemptState
    url_expires_at: datetime
    status: MediaStatus
