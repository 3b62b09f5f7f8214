"""The background work of webhooks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Job
from lapel.slices.webhooks.payloads import END_PENDING, REMOVE, WebhookJob

if TYPE_CHECKING:
    from lapel.slices.webhooks.records.endings import Endings


def handlers(endings: Endings) -> tuple[Job, ...]:
    """The jobs: end the pending deliveries of a disabled webhook, and remove a deleted webhook."""
    limit = timedelta(hours=1)
    return (
        Job(
            entrypoint=END_PENDING,
            payload=WebhookJob,
            handler=endings.end_pending,
            time_limit=limit,
            concurrency=3,
        ),
        Job(entrypoint=REMOVE, payload=WebhookJob, handler=endings.remove, time_limit=limit, concurrency=3),
    )
