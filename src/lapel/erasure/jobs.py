"""The erasure's background work."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.erasure.payloads import ERASE_END_USER, ERASE_RECORDING, EraseEndUser, EraseRecording
from lapel.foundation.jobs import Job, Schedule

if TYPE_CHECKING:
    from lapel.erasure.service import Erasures

# Each may have a hundred thousand recordings; what waits longer than five minutes the round takes up.
_END_USERS_AT_ONCE = 4


def handlers(service: Erasures) -> tuple[Job, ...]:
    """Erase at once what was deleted."""
    return (
        Job(
            entrypoint=ERASE_RECORDING,
            payload=EraseRecording,
            handler=service.erase_recording,
            time_limit=timedelta(minutes=15),
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
    """The second look, and what a job could not finish."""
    return (Schedule(name="erasure.due", expression="* * * * *", handler=service.run_due),)
