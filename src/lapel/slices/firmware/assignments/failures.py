"""The consequences of failed updates: one event for each, and a job that checks their rollouts.

`assignment_state_queries.py` says when an update has failed. The job compares failure rates
(`rollouts/halting.py`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import enqueue
from lapel.slices.firmware import events
from lapel.slices.firmware.payloads import ADVANCE, RolloutJob

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.firmware.rows import EndedRow


_MOMENT = timedelta(seconds=2)


async def failed(connection: Connection, ids: Ids, now: datetime, rows: Sequence[EndedRow]) -> None:
    """Publish `ota.failed` and wake the rollouts, in the transaction that ended these assignments."""
    await events.publish(connection, ids, now, "ota.failed", rows)
    # One job checks all updates that fail within the same two seconds. It runs two seconds later, because a
    # job that runs already may have counted before this transaction commits.
    moment = int(now.timestamp() / _MOMENT.total_seconds())
    # The order is always the same: two transactions that enqueue the same names in opposite order would
    # deadlock.
    for world_id, rollout_id in sorted(
        {(row.world_id, row.rollout_id) for row in rows if row.rollout_id is not None}
    ):
        job = RolloutJob(world_id, rollout_id)
        await enqueue(connection, ADVANCE, job, dedupe=f"{rollout_id}:{moment}", after=_MOMENT)
