"""The background work of webhooks. The delivery of events is no job: see `delivery/`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import Job
from lapel.slices.webhooks.payloads import END_PENDING, RECOVER, REMOVE, RecoveryJob, WebhookJob

if TYPE_CHECKING:
    from lapel.slices.webhooks.records.endings import Endings
    from lapel.slices.webhooks.records.recoveries import Recoveries

_LIMIT = timedelta(hours=1)
# Work on many deliveries must not take all places of its lane.
_AT_ONCE = 2


def handlers(endings: Endings, recoveries: Recoveries) -> tuple[Job, ...]:
    """The jobs: end the pending deliveries of a disabled webhook, remove a deleted webhook, and recover the
    events that a webhook missed."""
    return (
        Job(
            entrypoint=END_PENDING,
            payload=WebhookJob,
            handler=endings.end_pending,
            time_limit=_LIMIT,
            concurrency=_AT_ONCE,
        ),
        Job(
            entrypoint=REMOVE,
            payload=WebhookJob,
            handler=endings.remove,
            time_limit=_LIMIT,
            concurrency=_AT_ONCE,
        ),
        Job(
            entrypoint=RECOVER,
            payload=RecoveryJob,
            handler=recoveries.recover,
            time_limit=_LIMIT,
            concurrency=_AT_ONCE,
        ),
    )
