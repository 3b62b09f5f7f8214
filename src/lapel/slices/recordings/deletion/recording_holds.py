"""Legal holds of recordings, and the erasure of what a hold postponed, after its release."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.queue import jobs
from lapel.slices.end_users.service import erase_unless_held, lock_even_deleted, share
from lapel.slices.erasure.service import forget_reasons, read_released_hold, settle_hold
from lapel.slices.recordings.access import Reach, reach, unknown
from lapel.slices.recordings.deletion import deletion_queries
from lapel.slices.recordings.payloads import ERASE_RELEASED, EraseReleased
from lapel.slices.recordings.records import record_queries

if TYPE_CHECKING:
    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.erasure.service import Erasures, Hold, Holds, PlaceHold

# The most recordings that one transaction erases.
_BATCH = 500
# If the job of a released hold has not finished in this time, the scheduled round takes it over.
_JOB_PATIENCE = timedelta(minutes=5)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class RecordingHolds:
    """Places and releases holds of recordings; does what released holds of any kind postponed.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports, erasures: Erasures, holds: Holds) -> None:
        self._ports = ports
        self._erasures = erasures
        self._holds = holds

    async def place(self, actor: Actor, recording_id: str, body: PlaceHold) -> tuple[Hold, bool]:
        """Place a hold. Returns the hold, and whether it is new.

        Raises NotFound when there is no such recording, and Conflict when its holds keep changing.
        """
        async with self._ports.database.transaction() as connection:
            locked = await record_queries.lock(connection, reach(actor, recording_id))
            if locked is None:
                raise unknown()
            placed = await self._holds.place(
                connection,
                actor,
                ("recording", recording_id),
                body,
                end_user_id=locked.end_user_id,
            )
            crash_point("hold:before-place")
        crash_point("hold:placed")
        return placed

    async def place_again(self, world_id: int, recording_id: str, hold_id: str) -> bool:
        """Place a hold that a restored database has lost. False when there is nothing to keep, or a hold."""
        at = Reach(world_id, recording_id)
        async with self._ports.database.transaction() as connection:
            if await record_queries.lock(connection, at) is None:
                return False
            return await self._holds.place_again(
                connection,
                world_id,
                hold_id,
                ("recording", recording_id),
                end_user_id=await deletion_queries.read_end_user(connection, at) or "",
            )

    async def release(self, actor: Actor, recording_id: str) -> None:
        """Release the hold of a recording, which may be deleted. Raises NotFound when it never had a hold."""
        async with self._ports.database.transaction() as connection:
            end_user_id = await self._end_user_of(connection, actor.world_id, recording_id)
            hold_id = await self._holds.release(
                connection, actor, ("recording", recording_id), end_user_id=end_user_id
            )
            if hold_id is not None:
                await self.start_released(connection, actor.world_id, hold_id)
            crash_point("hold:before-release")
        crash_point("hold:released")

    async def start_released(self, connection: Connection, world_id: int, hold_id: str) -> None:
        """Enqueue the erasure of what a hold postponed, in the transaction that releases the hold."""
        await jobs.enqueue(connection, ERASE_RELEASED, EraseReleased(world_id, hold_id))

    async def erase_released(self, payload: EraseReleased) -> None:
        """The job: erase the hidden recordings that no hold keeps any more, batch after batch.

        Then, if the end user is deleted and no hold keeps the end user, erase the end user's fields. A repeat
        does only what is left. Raises Unavailable also when a request or a worker has locked a row, and
        StoreUnavailable while the store is unavailable.
        """
        crash_point("release:begin")
        world_id = payload.world_id
        try:
            async with self._ports.database.transaction() as connection:
                hold = await read_released_hold(connection, world_id, payload.hold_id)
                if hold is None:
                    return
                only = hold.resource_id if hold.resource_type == "recording" else None
                end_user_id = (
                    hold.resource_id if only is None else await self._end_user_of(connection, world_id, only)
                )
                if end_user_id is not None:
                    # A deletion that read the hold before its release has this lock too, so its recordings
                    # are hidden now. A later deletion reads that the hold is released.
                    await lock_even_deleted(connection, world_id, end_user_id)
            crash_point("release:deletions-over")
            if end_user_id is not None:
                await self._erasures.remember_end_user(world_id, end_user_id)
                await self._erase(world_id, end_user_id, only)
            async with self._ports.database.transaction() as connection:
                now = self._ports.clock.now()
                if end_user_id is not None and await erase_unless_held(connection, world_id, end_user_id):
                    await self._erasures.resume_end_user(connection, world_id, end_user_id, now)
                await settle_hold(connection, world_id, payload.hold_id, now)
                crash_point("release:before-commit")
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            raise Unavailable("A row of the recording is held by a request or a worker.") from error
        crash_point("release:committed")

    async def run_due(self) -> int:
        """Continue after releases whose worker died. Returns the number of holds."""
        done, before = 0, self._ports.clock.now() - _JOB_PATIENCE
        stuck: list[str] = []
        while due := await self._holds.find_unsettled(before, stuck):
            for each in due:
                try:
                    await self.erase_released(EraseReleased(each.world_id, each.id))
                except Exception as error:  # noqa: BLE001 - a hold that fails must not stop the others
                    _log.error("release.stuck", hold=each.id, exc_info=error)
                    stuck.append(each.id)
            done += len(due)
        return done

    async def _end_user_of(self, connection: Connection, world_id: int, recording_id: str) -> str | None:
        """The end user of a recording, also when an earlier run of the job has erased its row."""
        found = await deletion_queries.find_end_user(connection, world_id, recording_id)
        return found or await self._erasures.find_end_user(connection, world_id, recording_id)

    async def _erase(self, world_id: int, end_user_id: str, only: str | None) -> None:
        after: str | None = ""
        while after is not None:
            async with self._ports.database.transaction() as connection:
                after = await self._erase_batch(connection, world_id, end_user_id, after, only)
            crash_point("release:batch-committed")

    async def _erase_batch(
        self, connection: Connection, world_id: int, end_user_id: str, after: str, only: str | None
    ) -> str | None:
        """Erase one batch of hidden recordings. Returns its last id, or None for an empty batch."""
        await share(connection, world_id, end_user_id)
        rows = await deletion_queries.lock_hidden(connection, world_id, end_user_id, _BATCH, after, only)
        gone = [row.id for row in rows if not row.held]
        if gone:
            await self._erasures.resume(connection, world_id, gone, end_user_id, self._ports.clock.now())
            await forget_reasons(connection, world_id, gone)
            await deletion_queries.delete_recordings(connection, world_id, gone)
            crash_point("release:rows-deleted")
        return max((row.id for row in rows), default=None)
