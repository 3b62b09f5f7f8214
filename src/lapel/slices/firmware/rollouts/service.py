"""Rollouts offer a release to a share of a model's devices, and halt when too many updates fail.

All state is in rows, and a walk over the devices saves its position. So every step may be killed or repeated.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound
from lapel.foundation.database import audit
from lapel.foundation.database.pool import affected
from lapel.foundation.http.input.pagination import page, window
from lapel.foundation.queue.jobs import enqueue
from lapel.slices.firmware import queries
from lapel.slices.firmware.assignments import assignment_state_queries
from lapel.slices.firmware.payloads import ADVANCE, RolloutJob
from lapel.slices.firmware.releases import unknown_release
from lapel.slices.firmware.rollouts import rollout_queries
from lapel.slices.firmware.rollouts.halting import enqueue_withdrawal, halt_if_failing
from lapel.slices.firmware.views import rollout_of
from lapel.slices.firmware.wire import RolloutPage

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.firmware.rows import LockedRolloutRow
    from lapel.slices.firmware.wire import CreateRollout, Rollout, RolloutQuery

# The delay between the end of a walk and the next walk, which finds devices that were added meanwhile.
WALK_EVERY = timedelta(minutes=5)
_BATCH = 500
_BATCHES_BETWEEN_LOOKS = 10
_WITHDRAW_BATCH = 1000


class Rollouts:
    """Operations on rollouts, and their jobs.

    Methods that open a connection raise Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def create(
        self, connection: Connection, actor: Actor, release_id: str, body: CreateRollout
    ) -> Rollout:
        """Begin a rollout. A running or paused rollout of the model is halted.

        Raises NotFound when there is no such release, InvalidRequest when the release is for another model,
        and Conflict when the release is not released or another rollout of the model begins at the same
        moment.
        """
        now, world_id, rollout_id = self._ports.clock.now(), actor.world_id, self._ports.ids.new("rol")
        release = await queries.read_release(connection, world_id, release_id)
        if release is None:
            raise unknown_release()
        if release.model != body.model:
            raise InvalidRequest(
                f"This firmware is for {release.model}, not for {body.model}.", param="model"
            )
        if release.released_at is None:
            raise Conflict("This firmware is not released. Release it first.")
        for replaced in await rollout_queries.replace(
            connection, world_id, body.model, now, f"It was replaced by {rollout_id}."
        ):
            await enqueue_withdrawal(connection, world_id, replaced)
        if not await rollout_queries.insert(
            connection,
            world_id,
            rollout_id,
            release_id,
            body.model,
            body.percent,
            body.max_failure_rate,
            body.deadline_hours,
            now,
        ):
            raise Conflict("Another rollout for this model began at the same moment. Repeat the request.")
        await _advance(connection, world_id, rollout_id)
        await audit.note(connection, self._ports.ids, now, actor, "rollout.created", rollout_id, None)
        return await self._read(connection, world_id, release_id, rollout_id, now)

    async def read(self, actor: Actor, release_id: str, rollout_id: str) -> Rollout:
        """One rollout. Raises NotFound when the release has no such rollout."""
        async with self._ports.database.acquire() as connection:
            return await self._read(
                connection, actor.world_id, release_id, rollout_id, self._ports.clock.now()
            )

    async def list(self, actor: Actor, release_id: str, query: RolloutQuery) -> RolloutPage:
        """A release's rollouts, newest first.

        Raises NotFound when there is no such release, and InvalidRequest for a bad cursor.
        """
        asked = window(query, f"rollouts:{release_id}")
        async with self._ports.database.acquire() as connection:
            if await queries.read_release(connection, actor.world_id, release_id) is None:
                raise unknown_release()
            found = await rollout_queries.list_page(
                connection, actor.world_id, asked, release_id, self._ports.clock.now()
            )
        data, has_more, next_cursor = page(found, asked, rollout_of)
        return RolloutPage(data=data, has_more=has_more, next_cursor=next_cursor)

    async def pause(self, actor: Actor, release_id: str, rollout_id: str) -> Rollout:
        """Stop offering the release. Devices that have begun the update continue.

        Raises NotFound when the release has no such rollout, and Conflict when the rollout has ended.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            await rollout_queries.lock(connection, world_id, rollout_id)  # a resume under way comes first
            if await rollout_queries.pause(connection, world_id, release_id, rollout_id, now):
                await enqueue_withdrawal(connection, world_id, rollout_id)
                await audit.note(connection, self._ports.ids, now, actor, "rollout.paused", rollout_id, None)
            rollout = await self._read(connection, world_id, release_id, rollout_id, now)
            if rollout.status != "paused":
                raise Conflict(f"The rollout is {rollout.status}, which is final. Start another one.")
        return rollout

    async def resume(self, actor: Actor, release_id: str, rollout_id: str) -> Rollout:
        """Continue the rollout. The offers that the pause withdrew are made again.

        Raises NotFound when the release has no such rollout, and Conflict when the rollout has ended.
        """
        now, world_id = self._ports.clock.now(), actor.world_id
        async with self._ports.database.transaction() as connection:
            await rollout_queries.lock(connection, world_id, rollout_id)  # a pause under way comes first
            if await rollout_queries.resume(connection, world_id, release_id, rollout_id, now):
                await _advance(connection, world_id, rollout_id)
                await audit.note(connection, self._ports.ids, now, actor, "rollout.resumed", rollout_id, None)
            rollout = await self._read(connection, world_id, release_id, rollout_id, now)
            if rollout.status != "running":
                raise Conflict(f"The rollout is {rollout.status}, which is final. Start another one.")
        return rollout

    async def _read(
        self, connection: Connection, world_id: int, release_id: str, rollout_id: str, now: datetime
    ) -> Rollout:
        row = await rollout_queries.read(connection, world_id, release_id, rollout_id, now)
        if row is None:
            raise NotFound("There is no rollout with this id.")
        return rollout_of(row)

    async def advance(self, job: RolloutJob) -> None:
        """Walk over the model's devices, or halt when too many updates fail. May be repeated at any point."""
        crash_point("rollout:begin")
        batches = 0
        while await self._advance(job, look=batches % _BATCHES_BETWEEN_LOOKS == 0):
            batches += 1

    async def _advance(self, job: RolloutJob, *, look: bool) -> bool:
        """Offer the release to one batch of devices. Returns whether another batch follows."""
        now = self._ports.clock.now()
        async with self._ports.database.transaction() as connection:
            rollout = await rollout_queries.lock(connection, job.world_id, job.rollout_id)
            if rollout is None or rollout.status != "running":
                return False
            if (look and await halt_if_failing(connection, self._ports.ids, rollout, now)) or not _due(
                rollout, now
            ):
                return False
            batch = await assignment_state_queries.offer(
                connection,
                rollout,
                now + timedelta(hours=rollout.deadline_hours),
                now,
                [self._ports.ids.new("ota") for _ in range(_BATCH)],
            )
            offered = rollout.offered + batch.offered
            last = batch.last if batch.seen == _BATCH else None
            if last is None:
                await self._end_walk(connection, rollout, offered, now)
            else:
                await rollout_queries.save(
                    connection, job.world_id, job.rollout_id, last, offered, rollout.walked_at
                )
            crash_point("rollout:before-commit")
        crash_point("rollout:committed")
        return last is not None

    async def _end_walk(
        self, connection: Connection, rollout: LockedRolloutRow, offered: int, now: datetime
    ) -> None:
        """Save the end of a walk. The next walk looks for devices that were added meanwhile.

        The rollout is completed when the walk made no offer, no offer is open, and `deadline_hours` have
        passed since its creation.
        """
        world_id, rollout_id = rollout.world_id, rollout.id
        await rollout_queries.save(connection, world_id, rollout_id, "", 0, now)
        if offered or now < rollout.created_at + timedelta(hours=rollout.deadline_hours):
            return
        counts = await rollout_queries.count(connection, world_id, rollout_id, now)
        if not counts.pending + counts.delivered:
            await rollout_queries.complete(connection, world_id, rollout_id, now)

    async def withdraw(self, job: RolloutJob) -> None:
        """Withdraw the pending offers if the rollout is still paused or halted. May be repeated any time."""
        taken = _WITHDRAW_BATCH
        while taken == _WITHDRAW_BATCH:
            async with self._ports.database.transaction() as connection:
                taken = affected(
                    await assignment_state_queries.withdraw(
                        connection, job.world_id, job.rollout_id, self._ports.clock.now(), _WITHDRAW_BATCH
                    )
                )
                crash_point("withdraw:before-commit")
            crash_point("withdraw:committed")

    async def wake(self) -> None:
        """Enqueue the job of every running rollout."""
        async with self._ports.database.acquire() as connection:
            running = await rollout_queries.find_running(connection)
        for each in running:
            async with self._ports.database.transaction() as connection:
                await _advance(connection, each.world_id, each.id)


def _due(rollout: LockedRolloutRow, now: datetime) -> bool:
    """Whether a walk is under way, or the next one is due."""
    walked_at = rollout.walked_at
    return walked_at is None or rollout.position != "" or walked_at <= now - WALK_EVERY


async def _advance(connection: Connection, world_id: int, rollout_id: str) -> None:
    """Enqueue the job. No effect while the same job waits or runs; `wake` enqueues it again each minute."""
    await enqueue(connection, ADVANCE, RolloutJob(world_id, rollout_id), dedupe=rollout_id)
