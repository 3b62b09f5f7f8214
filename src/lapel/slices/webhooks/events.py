"""The event of webhooks: `webhook.disabled`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.database import outbox
from lapel.slices.webhooks.views import webhook_of
from lapel.slices.webhooks.wire import WebhookEvent

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.webhooks.rows import DisabledWebhookRow


async def publish_disabled(
    connection: Connection, ids: Ids, now: datetime, world_id: int, row: DisabledWebhookRow
) -> None:
    """Write the event of a webhook that the server has just disabled."""
    webhook = webhook_of(row, row.project_id)
    data = WebhookEvent(**msgspec.structs.asdict(webhook), webhook=webhook)
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type="webhook.disabled",
        resource_id=row.id,
        data=msgspec.json.encode(data),
        dedupe=f"webhook.disabled:{row.id}:{timestamp(now)}",
    )
