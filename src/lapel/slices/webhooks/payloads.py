"""Names and payloads of this slice's jobs."""

from __future__ import annotations

from datetime import datetime

import msgspec

# Deletes the deliveries of a deleted webhook, and then its row.
REMOVE = "webhooks.remove"
# Ends the pending deliveries of a disabled webhook.
END_PENDING = "webhooks.end-pending"
# Gives a webhook the events of a range of time that did not reach it.
RECOVER = "webhooks.recover"
# Makes the deliveries due that wait for a later attempt, because the receiver works again.
BRING_FORWARD = "webhooks.bring-forward"


class WebhookJob(msgspec.Struct, frozen=True):
    """The id of a webhook and its world."""

    world_id: int
    webhook_id: str


class RecoveryJob(WebhookJob, frozen=True):
    """A webhook, and the events from `since` (inclusive) to `until` (exclusive)."""

    since: datetime
    until: datetime
