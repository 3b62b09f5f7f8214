"""Ends the deliveries of a disabled webhook, and deletes those of a deleted webhook or end user.

A webhook may have any number of deliveries, so both are jobs with bounded batches. They may be repeated at
any point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.slices.webhooks.records import ending_queries

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.payloads import WebhookJob

_BATCH = 1000


async def erase_some_deliveries(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete deliveries, `limit` at most, of events about a deleted end user, before the events themselves.

    Returns the number of deleted deliveries; 0 when none is left.
    """
    return await ending_queries.delete_some_of_end_user(connection, world_id, end_user_id, limit)


class Endings:
    """The jobs that follow when a webhook is disabled or deleted.

    Every method raises Unavailable while the database is unavailable.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def end_pending(self, job: WebhookJob) -> None:
        """End the pending deliveries as failed, unless the webhook was enabled again meanwhile."""
        ended = 1
        while ended:
            async with self._ports.database.transaction() as connection:
                if not await ending_queries.lock_disabled(connection, job.world_id, job.webhook_id):
                    return
                now = self._ports.clock.now()
                ended = await ending_queries.end_some(connection, job.world_id, job.webhook_id, now, _BATCH)
                crash_point("end-pending:before-commit")
            crash_point("end-pending:committed")

    async def remove(self, job: WebhookJob) -> None:
        """Delete the deliveries of a deleted webhook, and then its row."""
        deleted = 1
        while deleted:
            async with self._ports.database.transaction() as connection:
                deleted = await ending_queries.delete_some(connection, job.world_id, job.webhook_id, _BATCH)
                crash_point("remove-webhook:before-commit")
            crash_point("remove-webhook:committed")
        async with self._ports.database.acquire() as connection:
            await ending_queries.delete_webhook(connection, job.world_id, job.webhook_id)
