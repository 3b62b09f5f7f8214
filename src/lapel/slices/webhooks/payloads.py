"""Names and payloads of this slice's jobs."""

from __future__ import annotations

import msgspec

# Deletes the deliveries of a deleted webhook, and then its row.
REMOVE = "webhooks.remove"
# Ends the pending deliveries of a disabled webhook.
END_PENDING = "webhooks.end-pending"


class WebhookJob(msgspec.Struct, frozen=True):
    """The id of a webhook and its world."""

    world_id: int
    webhook_id: str
