"""The background work of the publication."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.admission import Admission
from lapel.foundation.queue.jobs import Job, QueueLane, Schedule
from lapel.parsers import MIB
from lapel.slices.encrypted_uploads.payloads import PUBLISH, PublishSession
from lapel.slices.encrypted_uploads.publication.plain_writer import THREADS

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lapel.slices.encrypted_uploads.publication.publisher import Publisher

# Its own lane, so that publications delay nothing else. Most jobs in it only wait for their turn.
LANE = QueueLane("publication", 100)
# After this many seconds of waiting, a job lets the jobs behind it run first.
_PATIENCE = 10.0
# A larger object takes two places. The threads share Python's lock, so each object that is being opened slows
# down all others.
_LARGE = 8 * MIB


def handlers(publisher: Publisher) -> tuple[Job, ...]:
    """The job that publishes one session. Two GiB at 1 MB/s, written and read back, take two hours."""
    # Each place has a thread that opens. A world gets at most half of the places that the others leave,
    # rounded up: of five, the first gets three, or one large object, and one is left for a third even while
    # both worlds of a project publish large ones.
    publishing = Admission(THREADS, None, patience=_PATIENCE)

    def turn(payload: PublishSession) -> AbstractAsyncContextManager[object]:
        return publishing.place(payload.world_id, 2 if payload.size > _LARGE else 1)

    return (
        Job(
            entrypoint=PUBLISH,
            payload=PublishSession,
            handler=publisher.publish,
            time_limit=timedelta(hours=4),
            lane=LANE,
            turn=turn,
        ),
    )


def schedules(publisher: Publisher) -> tuple[Schedule, ...]:
    """The sweep that makes jobs for accepted sessions that have none."""
    return (
        Schedule(name="encrypted-uploads.publications", expression="* * * * *", handler=publisher.run_due),
    )
