"""The background jobs on audio: the job that follows an upload, and the jobs that do steps."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Job, QueueLane, Schedule
from lapel.slices.transcription.payloads import AT_ONCE, LANES, PROCESS, Lane, Process, Wake, entrypoint

if TYPE_CHECKING:
    from lapel.slices.transcription.copies.remote_copies import RemoteCopies
    from lapel.slices.transcription.service import Transcriptions
    from lapel.slices.transcription.work.runner import Runner

# The queue's lanes for the jobs that do steps.
QUEUE_LANES = {lane: QueueLane(lane, AT_ONCE[lane]) for lane in LANES}


def handlers(service: Transcriptions, runner: Runner) -> tuple[Job, ...]:
    """The jobs of this slice. A lane's job makes a worker do the next steps of the lane, in order."""

    def step_of(lane: Lane) -> Job:
        async def step(_: Wake) -> None:
            await runner.work(lane)

        # A step has its own limits of starts, and of time, which depend on the length of the audio. The job's
        # limit does not end its step.
        return Job(
            entrypoint=entrypoint(lane),
            payload=Wake,
            handler=step,
            time_limit=timedelta(hours=8),
            max_starts=None,
            lane=QUEUE_LANES[lane],
        )

    process = Job(entrypoint=PROCESS, payload=Process, handler=service.process)
    return (process, *(step_of(lane) for lane in LANES))


def schedules(runner: Runner, copies: RemoteCopies) -> tuple[Schedule, ...]:
    """Two sweeps: one queues jobs for steps that have none, the other deletes copies at providers."""
    return (
        Schedule(name="speech.sweep", expression="* * * * * */5", handler=runner.sweep),
        Schedule(name="speech.remote_copies", expression="* * * * * */5", handler=copies.sweep),
    )
