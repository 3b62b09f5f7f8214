"""The erasure's background work."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Job, Schedule
from lapel.slices.erasure.payloads import (
    ERASE_END_USER,
    ERASE_ENTRIES,
    ERASE_RECORDING,
    EraseEndUser,
    EraseEntries,
    EraseRecording,
)

if TYPE_CHECKING:
    from lapel.slices.erasure.service import Erasures

# The job of one end user may take long, because an end user may have a hundred thousand recordings. The
# scheduled round takes over entries that wait for more than five minutes.
_END_USERS_AT_ONCE = 3
# Retention may enqueue thousands of these jobs, and they must not take all places of their lane.
_BATCHES_AT_ONCE = 2


def handlers(service: Erasures) -> tuple[Job, ...]:
    """The jobs, enqueued by a deletion: erase one recording, a batch, or all recordings of an end user."""
    return (
        Job(
            entrypoint=ERASE_RECORDING,
            payload=EraseRecording,
            handler=service.erase_recording,
            time_limit=timedelta(minutes=15),
        ),
        Job(
            entrypoint=ERASE_ENTRIES,
            payload=EraseEntries,
            handler=service.erase_entries,
            time_limit=timedelta(hours=1),
            concurrency=_BATCHES_AT_ONCE,
        ),
        Job(
            entrypoint=ERASE_END_USER,
            payload=EraseEndUser,
            handler=service.erase_end_user,
            time_limit=timedelta(hours=2),
            concurrency=_END_USERS_AT_ONCE,
        ),
    )


def schedules(service: Erasures) -> tuple[Schedule, ...]:
    """The schedule: list the objects of erased entries again, and continue entries that wait too long."""
    return (Schedule(name="erasure.due", expression="* * * * *", handler=service.run_due),)
