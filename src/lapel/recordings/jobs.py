"""The background work of recordings."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.errors import NotFound
from lapel.foundation.jobs import Job, Schedule
from lapel.recordings.payloads import DELETE_OF_END_USER, VERIFY, DeleteOfEndUser, VerifyUpload

if TYPE_CHECKING:
    from lapel.recordings.service import Recordings

# Objects of gigabytes are copied and read back; more at once would only share the disk.
_VERIFICATIONS_AT_ONCE = 4
# End users with very many recordings must not take the places of uploads that are to be verified.
_DELETIONS_AT_ONCE = 4


def handlers(service: Recordings) -> tuple[Job, ...]:
    """Verify what is too large for a call."""

    async def verify(payload: VerifyUpload) -> None:
        try:
            await service.completion.verify(payload)
        except NotFound:  # deleted meanwhile; the erasure takes what is in the store
            return

    return (
        Job(
            entrypoint=VERIFY,
            payload=VerifyUpload,
            handler=verify,
            time_limit=timedelta(hours=1),
            concurrency=_VERIFICATIONS_AT_ONCE,
        ),
        Job(
            entrypoint=DELETE_OF_END_USER,
            payload=DeleteOfEndUser,
            handler=service.deletion.delete_of_end_user,
            time_limit=timedelta(hours=2),
            concurrency=_DELETIONS_AT_ONCE,
        ),
    )


def schedules(service: Recordings) -> tuple[Schedule, ...]:
    """Finish what clients and killed workers left unfinished; compare rows and objects."""
    return (
        Schedule(
            name="recordings.deletions",
            expression="* * * * *",
            handler=service.deletion.run_due,
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
