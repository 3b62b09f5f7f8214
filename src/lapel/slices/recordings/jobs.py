"""The background work of recordings."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.admission import Admission
from lapel.foundation.core.errors import NotFound
from lapel.foundation.queue.jobs import Job, QueueLane, Schedule
from lapel.slices.recordings.payloads import (
    DELETE_OF_END_USER,
    ERASE_RELEASED,
    VERIFY,
    DeleteOfEndUser,
    EraseReleased,
    VerifyUpload,
)

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lapel.slices.recordings.service import Recordings

# Most jobs in this lane only wait for their turn.
VERIFYING = QueueLane("verify", 100)
# A verification may copy and read gigabytes. More verifications at once would only share the disk's
# bandwidth.
_VERIFYING = 4
_VERIFYING_OF_ONE_WORLD = 2
# After this many seconds of waiting, a job lets the jobs behind it run first.
_PATIENCE = 10.0
# Deletions of end users with very many recordings must not take all places of their lane.
_DELETIONS_AT_ONCE = 2


def handlers(service: Recordings) -> tuple[Job, ...]:
    """The jobs.

    Verify objects that are too large for a call, delete the rows of a deleted end user, and erase what a
    released hold postponed.
    """
    verifying = Admission(_VERIFYING, _VERIFYING_OF_ONE_WORLD, patience=_PATIENCE)

    async def verify(payload: VerifyUpload) -> None:
        try:
            await service.completion.verify(payload)
        except NotFound:  # the recording is deleted, and the erasure deletes its objects
            return

    def turn(payload: VerifyUpload) -> AbstractAsyncContextManager[object]:
        return verifying.place(payload.world_id)

    return (
        Job(
            entrypoint=VERIFY,
            payload=VerifyUpload,
            handler=verify,
            time_limit=timedelta(hours=1),
            lane=VERIFYING,
            turn=turn,
        ),
        Job(
            entrypoint=DELETE_OF_END_USER,
            payload=DeleteOfEndUser,
            handler=service.deletion.delete_of_end_user,
            time_limit=timedelta(hours=2),
            concurrency=_DELETIONS_AT_ONCE,
        ),
        Job(
            entrypoint=ERASE_RELEASED,
            payload=EraseReleased,
            handler=service.holds.erase_released,
            time_limit=timedelta(hours=2),
            concurrency=_DELETIONS_AT_ONCE,
        ),
    )


def schedules(service: Recordings) -> tuple[Schedule, ...]:
    """The schedules: finish uploads and deletions that stopped half-way, and compare rows with objects."""
    return (
        Schedule(
            name="recordings.deletions",
            expression="* * * * *",
            handler=service.deletion.run_due,
            time_limit=timedelta(minutes=50),
        ),
        Schedule(
            name="recordings.releases",
            expression="* * * * *",
            handler=service.holds.run_due,
            time_limit=timedelta(minutes=50),
        ),
        Schedule(
            name="recordings.unfinished", expression="*/5 * * * *", handler=service.reconciler.run_unfinished
        ),
        Schedule(
            name="recordings.walks",
            expression="17 * * * *",
            handler=service.reconciler.run_walks,
            time_limit=timedelta(minutes=50),
        ),
    )
