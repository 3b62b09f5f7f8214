"""The background work of webhooks. The delivery of events is no job: see `delivery/`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.admission import Admission
from lapel.foundation.queue.jobs import Job, QueueLane
from lapel.slices.webhooks.payloads import (
    BRING_FORWARD,
    END_PENDING,
    RECOVER,
    REMOVE,
    RecoveryJob,
    WebhookJob,
)

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lapel.slices.webhooks.records.endings import Endings
    from lapel.slices.webhooks.records.recoveries import Recoveries

_LIMIT = timedelta(hours=1)
# Most jobs in this lane only wait for their turn.
MANY_DELIVERIES = QueueLane("many-deliveries", 100)
# Each job works on any number of deliveries, in short transactions. One world must not take all turns.
_TURNS = 8
_TURNS_OF_ONE_WORLD = 2
# After this many seconds of waiting, a job lets the jobs behind it run first.
_PATIENCE = 5.0


def handlers(endings: Endings, recoveries: Recoveries) -> tuple[Job, ...]:
    """The jobs: end the pending deliveries of a disabled webhook, remove a deleted webhook, recover the
    events that a webhook missed, and make its deliveries due when it works again."""
    turns = Admission(_TURNS, _TURNS_OF_ONE_WORLD, patience=_PATIENCE)

    def turn(payload: WebhookJob) -> AbstractAsyncContextManager[object]:
        return turns.place(payload.world_id)

    return (
        Job(
            entrypoint=END_PENDING,
            payload=WebhookJob,
            handler=endings.end_pending,
            time_limit=_LIMIT,
            lane=MANY_DELIVERIES,
            turn=turn,
        ),
        Job(
            entrypoint=REMOVE,
            payload=WebhookJob,
            handler=endings.remove,
            time_limit=_LIMIT,
            lane=MANY_DELIVERIES,
            turn=turn,
        ),
        Job(
            entrypoint=RECOVER,
            payload=RecoveryJob,
            handler=recoveries.recover,
            time_limit=_LIMIT,
            lane=MANY_DELIVERIES,
            turn=turn,
        ),
        Job(
            entrypoint=BRING_FORWARD,
            payload=WebhookJob,
            handler=recoveries.bring_forward,
            time_limit=_LIMIT,
            lane=MANY_DELIVERIES,
            turn=turn,
        ),
    )
