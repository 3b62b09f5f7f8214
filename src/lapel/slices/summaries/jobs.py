"""The background job that makes summaries, and the sweep that queues lost jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Job, QueueLane, Schedule
from lapel.slices.summaries.payloads import AT_ONCE, WORK, WorkOnSummary

if TYPE_CHECKING:
    from lapel.slices.summaries.work.summary_runner import SummaryRunner

# Its own lane, so that summaries delay nothing else.
LANE = QueueLane("summaries", AT_ONCE)


def handlers(runner: SummaryRunner) -> tuple[Job, ...]:
    """The job of this slice. It makes a worker do the next summaries, in order."""

    async def work(_: WorkOnSummary) -> None:
        await runner.work()

    # A summary has its own limits of time and of starts.
    return (
        Job(
            entrypoint=WORK,
            payload=WorkOnSummary,
            handler=work,
            time_limit=timedelta(hours=8),
            max_starts=None,
            lane=LANE,
        ),
    )


def schedules(runner: SummaryRunner) -> tuple[Schedule, ...]:
    """The sweep that queues jobs for summaries that have none."""
    return (Schedule(name="summaries.sweep", expression="* * * * * */5", handler=runner.sweep),)
