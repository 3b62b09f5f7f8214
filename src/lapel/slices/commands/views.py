"""From rows to the contract's commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.http.input.fields import raw
from lapel.slices.commands.wire import PastCommand, StoredCommand

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.slices.commands.rows import CommandRow
    from lapel.slices.commands.wire import Status, StoredStatus


def is_expired(status: StoredStatus, expires_at: datetime | None, now: datetime) -> bool:
    """Whether a command with this stored status is shown as `expired`."""
    return status in ("pending", "delivered") and expires_at is not None and expires_at <= now


def status_of(row: CommandRow, now: datetime) -> Status:
    """The status that answers show."""
    return "expired" if is_expired(row.status, row.expires_at, now) else row.status


def stored_of(row: CommandRow) -> StoredCommand:
    """The row as the same struct that PostgreSQL's JSON of a row decodes to."""
    return StoredCommand(
        id=row.id,
        device_id=row.device_id,
        end_user_id=row.end_user_id,
        binding_generation=row.binding_generation,
        type=row.type,
        status=row.status,
        params=raw(row.params),
        result=raw(row.result),
        error=raw(row.error),
        expires_at=row.expires_at,
        delivered_at=row.delivered_at,
        executed_at=row.executed_at,
        created_at=row.created_at,
    )


def past_of(stored: StoredCommand, now: datetime, project_id: str) -> PastCommand:
    """The command without its token."""
    return PastCommand(
        id=stored.id,
        device_id=stored.device_id,
        project_id=project_id,
        end_user_id=stored.end_user_id,
        type=stored.type,
        status="expired" if is_expired(stored.status, stored.expires_at, now) else stored.status,
        params=stored.params,
        result=stored.result,
        error=stored.error,
        expires_at=timestamp_or_none(stored.expires_at),
        delivered_at=timestamp_or_none(stored.delivered_at),
        executed_at=timestamp_or_none(stored.executed_at),
        created_at=timestamp(stored.created_at),
    )
