"""Gives a webhook the events of a range of time that did not reach it, and those that wait for an attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.clock import EPOCH
from lapel.foundation.core.crash_points import crash_point
from lapel.slices.webhooks.records import recovery_queries
from lapel.slices.webhooks.waiting_queries import measure_pending
from lapel.slices.webhooks.wire import ALL_EVENTS

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.payloads import RecoveryJob, WebhookJob

_BATCH = 1000


class Recoveries:
    """The jobs of a recovery, and of the end of an outage. They may be repeated at any point: what they did
    before stays as it is.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def recover(self, job: RecoveryJob) -> None:
        """Walk over the events from `since` to `until`, oldest first, while the webhook is enabled.

        When the webhook has as many pending deliveries as it may have, the walk only makes those due that are
        pending already, and the recovery ends as `stopped`.
        """
        after: tuple[datetime, str] | None = (job.since, "")
        left_some = False
        while after is not None:
            after, left_now = await self._recover_some(job, after, left_some=left_some)
            left_some = left_some or left_now
            crash_point("recover:committed")

    async def bring_forward(self, job: WebhookJob) -> None:
        """Make the deliveries due that wait for a later attempt, while the webhook works."""
        after: tuple[datetime, str] | None = (EPOCH, "")
        while after is not None:
            async with self._ports.database.transaction() as connection:
                if not await recovery_queries.works(connection, job.world_id, job.webhook_id):
                    return
                last = await recovery_queries.bring_forward(
                    connection, job.world_id, job.webhook_id, after, _BATCH
                )
                after = None if last is None else (last.due_at, last.id)
                crash_point("bring-forward:before-commit")
            crash_point("bring-forward:committed")

    async def _recover_some(
        self, job: RecoveryJob, after: tuple[datetime, str], *, left_some: bool
    ) -> tuple[tuple[datetime, str] | None, bool]:
        """One batch; the last one ends the recovery. `left_some`: whether an earlier batch left deliveries as
        they were.

        Returns the last event that it looked at, None when no event follows, and whether it left some itself.
        """
        world_id, webhook_id, left_now = job.world_id, job.webhook_id, False
        async with self._ports.database.transaction() as connection:
            types = await recovery_queries.lock_enabled(connection, world_id, webhook_id)
            if types is None:
                await recovery_queries.end(connection, world_id, webhook_id, "stopped")
                return None, False
            events = await recovery_queries.walk(connection, job.world_id, after, _BATCH)
            due = [
                event
                for event in events
                if event.created_at < job.until and (types == [ALL_EVENTS] or event.type in types)
            ]
            if due:
                room = await self._room(connection, job)
                done = await recovery_queries.recover(
                    connection, self._ports.ids, world_id, webhook_id, due, room
                )
                left_now = done.left_some
            is_last = len(events) < _BATCH or events[-1].created_at >= job.until
            if is_last:
                state = "stopped" if left_some or left_now else "completed"
                await recovery_queries.end(connection, world_id, webhook_id, state)
            crash_point("recover:before-commit")
        return None if is_last else (events[-1].created_at, events[-1].id), left_now

    async def _room(self, connection: Connection, job: RecoveryJob) -> int:
        """How many deliveries of the webhook may become pending."""
        most = self._ports.settings.pending_deliveries_per_world
        if not most:
            return _BATCH
        (measured,) = await measure_pending(connection, [(job.world_id, job.webhook_id)], most)
        return measured.room
