"""Rows that the statements of firmware give."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.firmware.wire import AssignmentStatus, RolloutStatus


class ReleaseRow(msgspec.Struct, frozen=True):
    """A release. A `release_sequence` of 0, which earlier versions accepted, means no sequence."""

    id: str
    version: str
    model: str
    released_at: datetime | None
    changelog: str | None
    bin_sha256: str
    bin_file_size_bytes: int
    bin_crc32: str
    ufw_sha256: str | None
    ufw_file_size_bytes: int | None
    release_sequence: int | None
    allow_downgrade: bool
    created_at: datetime
    updated_at: datetime


class FilesRow(msgspec.Struct, frozen=True):
    """The files of a release."""

    version: str
    model: str
    bin_object_key: str
    bin_sha256: str
    bin_file_size_bytes: int
    ufw_object_key: str | None
    ufw_sha256: str | None
    ufw_file_size_bytes: int | None


class AssignmentRow(msgspec.Struct, frozen=True):
    """An assignment."""

    world_id: int
    id: str
    device_id: str
    firmware_release_id: str
    rollout_id: str | None
    assigned_at: datetime
    delivered_at: datetime | None
    applied_at: datetime | None
    status: AssignmentStatus
    error_message: str | None


class EndedRow(AssignmentRow, frozen=True):
    """An assignment that was just ended, with its release's version and model and its world's project."""

    version: str
    model: str
    project_id: str


class RolloutRow(msgspec.Struct, frozen=True):
    """A rollout. `offered`: the offers of the walk under way. `walked_at`: the end of the last walk."""

    id: str
    world_id: int
    firmware_release_id: str
    model: str
    percent: int
    max_failure_rate: float
    deadline_hours: int
    status: RolloutStatus
    halt_reason: str | None
    offered: int
    walked_at: datetime | None
    created_at: datetime
    updated_at: datetime


class CountedRow(RolloutRow, frozen=True):
    """A rollout, and the number of its offers in each state."""

    pending: int
    delivered: int
    applied: int
    failed: int
    cancelled: int


class LockedRolloutRow(RolloutRow, frozen=True):
    """A locked rollout, and what its walk needs. `position`: the last device that the walk has seen."""

    position: str
    version: str
    release_sequence: int | None
    allow_downgrade: bool


class OfferCountsRow(msgspec.Struct, frozen=True):
    """The number of a rollout's offers in each state."""

    pending: int
    delivered: int
    applied: int
    failed: int
    cancelled: int


class BatchRow(msgspec.Struct, frozen=True):
    """A step of a walk: devices seen, id of the last one, and offers made."""

    seen: int
    last: str | None
    offered: int


class RunningRow(msgspec.Struct, frozen=True):
    """A rollout that is running."""

    world_id: int
    id: str
