"""Gives a webhook all events of a range of time that did not reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.slices.webhooks.records import recovery_queries
from lapel.slices.webhooks.wire import ALL_EVENTS

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.payloads import RecoveryJob

_BATCH = 1000


class Recoveries:
    """The job of a recovery. It may be repeated at any point: what it did before stays as it is.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def recover(self, job: RecoveryJob) -> None:
        """Walk over the events from `since` to `until`, oldest first, while the webhook is enabled."""
        after: tuple[datetime, str] | None = (job.since, "")
        while after is not None:
            after = await self._recover_some(job, after)
            crash_point("recover:committed")

    async def _recover_some(
        self, job: RecoveryJob, after: tuple[datetime, str]
    ) -> tuple[datetime, str] | None:
        """One batch. Returns the last event that it looked at, None when no event follows."""
        async with self._ports.database.transaction() as connection:
            types = await recovery_queries.lock_enabled(connection, job.world_id, job.webhook_id)
            if types is None:
                return None
            events = await recovery_queries.walk(connection, job.world_id, after, _BATCH)
            due = [
                event
                for event in events
                if event.created_at < job.until and (types == [ALL_EVENTS] or event.type in types)
            ]
            if due:
                await recovery_queries.recover(connection, self._ports.ids, job.world_id, job.webhook_id, due)
            crash_point("recover:before-commit")
        if len(events) < _BATCH or events[-1].created_at >= job.until:
            return None
        return events[-1].created_at, events[-1].id
