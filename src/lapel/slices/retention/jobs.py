"""The background work of retention."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Schedule

if TYPE_CHECKING:
    from lapel.slices.retention.service import Retention


def schedules(service: Retention) -> tuple[Schedule, ...]:
    """The schedule: erase what is due, each hour."""
    return (
        Schedule(
            name="retention",
            expression="7 * * * *",
            handler=service.run,
            time_limit=timedelta(minutes=55),
        ),
    )
