"""From rows to the contract's structs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.slices.firmware.wire import Assignment, Release, Rollout, RolloutCounts

if TYPE_CHECKING:
    from lapel.slices.firmware.rows import AssignmentRow, CountedRow, ReleaseRow


def release_of(row: ReleaseRow) -> Release:
    """A release in the form of the contract."""
    return Release(
        id=row.id,
        version=row.version,
        model=row.model,
        is_released=row.released_at is not None,
        changelog=row.changelog or "",
        bin_sha256=row.bin_sha256,
        bin_file_size_bytes=row.bin_file_size_bytes,
        bin_crc32=row.bin_crc32,
        # Without a `ufw` file the fields are those of `bin`.
        ufw_sha256=row.ufw_sha256 or row.bin_sha256,
        ufw_file_size_bytes=row.ufw_file_size_bytes or row.bin_file_size_bytes,
        # A sequence of 0, which earlier versions accepted, is left out.
        release_sequence=row.release_sequence or msgspec.UNSET,
        allow_downgrade=row.allow_downgrade if row.release_sequence else msgspec.UNSET,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def assignment_of(row: AssignmentRow) -> Assignment:
    """An assignment in the form of the contract."""
    return Assignment(
        id=row.id,
        device_id=row.device_id,
        firmware_release_id=row.firmware_release_id,
        status=row.status,
        assigned_at=timestamp(row.assigned_at),
        delivered_at=timestamp_or_none(row.delivered_at),
        applied_at=timestamp_or_none(row.applied_at),
        error_message=row.error_message,
    )


def rollout_of(row: CountedRow) -> Rollout:
    """A rollout in the form of the contract; its counts are columns of the row."""
    return Rollout(
        id=row.id,
        firmware_release_id=row.firmware_release_id,
        model=row.model,
        percent=row.percent,
        max_failure_rate=row.max_failure_rate,
        deadline_hours=row.deadline_hours,
        status=row.status,
        halt_reason=row.halt_reason,
        counts=RolloutCounts(
            pending=row.pending,
            delivered=row.delivered,
            applied=row.applied,
            failed=row.failed,
            cancelled=row.cancelled,
        ),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )
