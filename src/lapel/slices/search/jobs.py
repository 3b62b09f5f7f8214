"""The background work of the search: vectors, and transcripts that are not in the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Job, QueueLane, Schedule
from lapel.slices.search.payloads import EMBED, EmbedTranscript

if TYPE_CHECKING:
    from lapel.slices.search.indexing.catching_up import CatchingUp
    from lapel.slices.search.indexing.vector_work import VectorWork

# A worker has one child process that embeds. While it works for one job, the other one waits.
LANE = QueueLane("embedding", 2)


def handlers(work: VectorWork) -> tuple[Job, ...]:
    """The job that computes vectors. A transcript counts its own tries."""
    return (Job(entrypoint=EMBED, payload=EmbedTranscript, handler=work.work, max_starts=None, lane=LANE),)


def schedules(work: VectorWork, catching_up: CatchingUp) -> tuple[Schedule, ...]:
    """Two sweeps: one queues jobs for vectors that are due, the other finds transcripts without chunks."""
    return (
        Schedule(name="search.sweep", expression="* * * * * */5", handler=work.sweep),
        Schedule(name="search.catch_up", expression="* * * * * */10", handler=catching_up.run),
    )
