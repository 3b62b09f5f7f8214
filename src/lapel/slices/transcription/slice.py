"""The slice of transcriptions, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.slices import Slice, Table
from lapel.slices.configuration.service import Configuration
from lapel.slices.transcription import jobs, routes
from lapel.slices.transcription.copies.remote_copies import RemoteCopies
from lapel.slices.transcription.errors import TranscriptionInProgress, TranscriptNotReady
from lapel.slices.transcription.events import SAMPLES
from lapel.slices.transcription.payloads import STAGES
from lapel.slices.transcription.service import Transcriptions

if TYPE_CHECKING:
    from lapel.foundation.queue.jobs import Job, Schedule
    from lapel.foundation.slices import Services
    from lapel.slices.transcription.work.runner import Runner


# Only a worker process needs the runner and the modules that the runner imports. The worker starts its child
# processes when a step needs them.


def _worker(services: Services) -> tuple[Runner]:
    from lapel.slices.transcription.work.runner import Runner  # noqa: PLC0415
    from lapel.slices.transcription.work.tools import worker_stages  # noqa: PLC0415

    hooks = services[Transcriptions].on_complete
    return (Runner(services.ports, worker_stages(services.ports), hooks),)


def _jobs(services: Services) -> tuple[Job, ...]:
    from lapel.slices.transcription.work.runner import Runner  # noqa: PLC0415

    return jobs.handlers(services[Transcriptions], services[Runner])


def _schedules(services: Services) -> tuple[Schedule, ...]:
    from lapel.slices.transcription.work.runner import Runner  # noqa: PLC0415

    return jobs.schedules(services[Runner], RemoteCopies(services.ports))


_OF_A_STEP = ("claimed", "done", "before-commit", "committed")
_CRASH_POINTS = (
    "process:begin",
    "process:written",
    "process:committed",
    *(f"{stage}:{point}" for stage in STAGES for point in _OF_A_STEP),
)

SLICE = Slice(
    name="transcription",
    build=lambda services: (Transcriptions(services.ports, services[Configuration]),),
    operations=lambda services: routes.operations(services[Transcriptions]),
    worker=_worker,
    jobs=_jobs,
    schedules=_schedules,
    scopes=("transcriptions:read", "transcriptions:write"),
    ids={"transcription_id": "txn"},
    errors=(TranscriptionInProgress, TranscriptNotReady),
    buckets=(routes.TRANSCRIPTIONS,),
    lanes=tuple(jobs.QUEUE_LANES.values()),
    tables=(
        Table("audio_facts", grows=True),
        Table("transcriptions", grows=True),
        Table("transcription_pieces", grows=True),
        Table("daily_audio"),  # one row per world and day, without text
        Table("remote_copies"),  # copies at providers, until they are deleted there
        Table("speech_turns"),  # one row per lane and world
        Table("speech_work"),  # the work on an audio, until it is done
    ),
    events=SAMPLES,
    crash_points=_CRASH_POINTS,
)
