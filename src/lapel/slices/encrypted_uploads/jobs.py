"""The background work of encrypted uploads."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Schedule

if TYPE_CHECKING:
    from lapel.slices.encrypted_uploads.sessions.clearing import Clearing


def schedules(clearing: Clearing) -> tuple[Schedule, ...]:
    """The schedules: delete staged objects that nothing needs any more."""
    return (
        Schedule(
            name="encrypted-uploads.clearing",
            expression="* * * * *",
            handler=clearing.run_due,
            time_limit=timedelta(minutes=50),
        ),
        Schedule(
            name="encrypted-uploads.walk",
            expression="41 * * * *",
            handler=clearing.run_walk,
            time_limit=timedelta(minutes=50),
        ),
    )
