"""The events of webhooks: `webhook.disabled`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.clock import timestamp
from lapel.foundation.database import outbox
from lapel.slices.webhooks.rows import WebhookRow
from lapel.slices.webhooks.views import webhook_of
from lapel.slices.webhooks.wire import WebhookEvent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.webhooks.rows import DisabledWebhookRow


async def publish_disabled(
    connection: Connection, ids: Ids, now: datetime, world_id: int, row: DisabledWebhookRow
) -> None:
    """Write one event about a webhook that was just disabled because its receiver is gone or fails."""
    await outbox.publish(
        connection,
        ids,
        now,
        world_id=world_id,
        type="webhook.disabled",
        resource_id=row.id,
        data=_data(row, row.project_id),
        dedupe=f"webhook.disabled:{row.id}:{timestamp(now)}",
    )


def _data(row: WebhookRow, project_id: str) -> bytes:
    """The JSON of a webhook, as GET answers it, and the same object as `webhook`."""
    webhook = webhook_of(row, project_id)
    return msgspec.json.encode(WebhookEvent(**msgspec.structs.asdict(webhook), webhook=webhook))


def _sample(ids: Ids, now: datetime, project_id: str) -> outbox.EventSample:
    row = WebhookRow(
        id=ids.new("wh"),
        url="https://example.com/sample",
        events=["*"],
        description="Sample",
        metadata="{}",
        status="disabled",
        disabled_reason="failing",
        verified_at=now - timedelta(days=30),
        created_at=now - timedelta(days=30),
        updated_at=now,
        recovery_since=None,
        recovery_until=None,
        recovery_state=None,
        recovery_queued=0,
        recovery_brought_forward=0,
        recovery_ended_at=None,
    )
    return outbox.EventSample(row.id, _data(row, project_id))


SAMPLES: Mapping[str, outbox.SampleMaker] = {"webhook.disabled": _sample}
