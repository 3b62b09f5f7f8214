"""The background work on audio: what follows an upload, and one step after the other."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.jobs import Job, Schedule
from lapel.transcription.payloads import LANES, PROCESS, Lane, Process, Wake, entrypoint

if TYPE_CHECKING:
    from lapel.transcription.providers.remote_copies import RemoteCopies
    from lapel.transcription.runner import Runner
    from lapel.transcription.service import Transcriptions


def handlers(service: Transcriptions, runner: Runner) -> tuple[Job, ...]:
    """A job only wakes a worker: the steps are chosen by whose turn it is."""

    def step_of(lane: Lane) -> Job:
        async def step(_: Wake) -> None:
            await runner.work(lane)

        # A step has limits of its own, by the length of the audio.
        return Job(
            entrypoint=entrypoint(lane),
            payload=Wake,
            handler=step,
            time_limit=timedelta(hours=8),
            lane=lane,
        )

    process = Job(entrypoint=PROCESS, payload=Process, handler=service.process)
    return (process, *(step_of(lane) for lane in LANES))


def schedules(runner: Runner, copies: RemoteCopies) -> tuple[Schedule, ...]:
    """Steps whose worker was killed find another; what providers keep is deleted there."""
    return (
        Schedule(name="speech.sweep", expression="* * * * * */5", handler=runner.sweep),
        Schedule(name="speech.remote_copies", expression="* * * * * */5", handler=copies.sweep),
    )
