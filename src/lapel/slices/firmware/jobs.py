"""The background work of firmware."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Job, Schedule
from lapel.slices.firmware.payloads import ADVANCE, WITHDRAW, RolloutJob

if TYPE_CHECKING:
    from lapel.slices.firmware.service import Firmware

# Rollouts over many devices must not take all places of their lane.
_ROLLOUTS_AT_ONCE = 2


def handlers(service: Firmware) -> tuple[Job, ...]:
    """The jobs: advance a rollout, and withdraw the offers of a paused or halted rollout."""
    return (
        Job(
            entrypoint=ADVANCE,
            payload=RolloutJob,
            handler=service.rollouts.advance,
            time_limit=timedelta(hours=1),
            concurrency=_ROLLOUTS_AT_ONCE,
        ),
        Job(
            entrypoint=WITHDRAW,
            payload=RolloutJob,
            handler=service.rollouts.withdraw,
            time_limit=timedelta(hours=1),
            concurrency=_ROLLOUTS_AT_ONCE,
        ),
    )


def schedules(service: Firmware) -> tuple[Schedule, ...]:
    """The schedules: end late updates and wake rollouts each minute, delete orphaned files each hour."""
    return (
        Schedule(name="firmware.deadlines", expression="* * * * *", handler=service.sweeps.end_late),
        Schedule(name="firmware.rollouts", expression="* * * * *", handler=service.rollouts.wake),
        Schedule(name="firmware.orphans", expression="29 * * * *", handler=service.sweeps.remove_orphans),
    )
