"""Disables a webhook whose receiver is gone or has failed for days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database import audit
from lapel.foundation.queue.jobs import enqueue
from lapel.slices.webhooks import events
from lapel.slices.webhooks.delivery.settling import outcome_queries
from lapel.slices.webhooks.payloads import END_PENDING, WebhookJob

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.webhooks.wire import DisabledReason


async def disable(
    connection: Connection, ports: Ports, world_id: int, webhook_id: str, reason: DisabledReason
) -> None:
    """Disable a webhook, publish the event, and write it into the audit log; nothing if it is disabled.

    A job ends the pending deliveries.
    """
    now = ports.clock.now()
    row = await outcome_queries.disable(connection, world_id, webhook_id, reason, now)
    if row is None:
        return
    await events.publish_disabled(connection, ports.ids, now, world_id, row)
    await enqueue(connection, END_PENDING, WebhookJob(world_id, webhook_id))
    change = audit.Change(
        action="webhook.disabled",
        resource_type="webhook",
        resource_id=webhook_id,
        before={"status": "enabled"},
        after={"status": row.status, "disabled_reason": row.disabled_reason},
    )
    actor = audit.System("webhooks")
    await audit.record(connection, ports.ids, now, worlds=[world_id], actor=actor, change=change, about=None)
