"""From rows to the contract's structs of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.clock import timestamp
from lapel.foundation.http.input.fields import raw
from lapel.slices.webhooks.wire import Webhook

if TYPE_CHECKING:
    from lapel.slices.webhooks.rows import WebhookRow


def webhook_of(row: WebhookRow, project_id: str) -> Webhook:
    """A webhook as GET answers it."""
    return Webhook(
        id=row.id,
        project_id=project_id,
        url=row.url,
        events=row.events,
        description=row.description,
        metadata=raw(row.metadata),
        status=row.status,
        disabled_reason=row.disabled_reason,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )
