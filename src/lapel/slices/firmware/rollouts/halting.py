"""Decides that a rollout halts because too many of its updates failed, and halts it.

Each run of the rollout's job (`Rollouts.advance`) calls `halt_if_failing`. A new rollout for the same model
also halts the previous rollout (`Rollouts.create`), even if no update of the previous rollout failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.database import audit
from lapel.foundation.queue.jobs import enqueue
from lapel.slices.firmware.payloads import WITHDRAW, RolloutJob
from lapel.slices.firmware.rollouts import rollout_queries

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.core.ids import Ids
    from lapel.foundation.database.connection import Connection
    from lapel.slices.firmware.rows import LockedRolloutRow

# The failure rate counts when this many updates have ended, or all updates.
ENOUGH = 5

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def halt_if_failing(connection: Connection, ids: Ids, rollout: LockedRolloutRow, now: datetime) -> bool:
    """Halt the rollout if too many updates have failed. Returns whether it is halted.

    The halt is an entry of the audit log, because nobody asked for it.
    """
    world_id, rollout_id = rollout.world_id, rollout.id
    counts = await rollout_queries.count(connection, world_id, rollout_id, now)
    all_ended = rollout.walked_at is not None and not counts.pending + counts.delivered
    failed, ended = counts.failed, counts.failed + counts.applied
    if not too_many(failed, ended, rollout.max_failure_rate, all_ended=all_ended):
        return False
    why = f"{failed} of {ended} updates failed, and at most {100 * rollout.max_failure_rate:g}% may fail."
    await rollout_queries.halt(connection, world_id, rollout_id, why, now)
    await enqueue_withdrawal(connection, world_id, rollout_id)
    change = audit.Change(
        action="rollout.halted", resource_type="rollout", resource_id=rollout_id, after={"halt_reason": why}
    )
    actor = audit.System("firmware")
    await audit.record(connection, ids, now, worlds=[world_id], actor=actor, change=change, about=None)
    crash_point("rollout:halted")
    _log.warning("rollout.halted", rollout=rollout_id, failed=failed, ended=ended)
    return True


def too_many(failed: int, ended: int, max_failure_rate: float, *, all_ended: bool) -> bool:
    """Whether a rollout must halt, because too large a share of its ended updates failed.

    The share counts when at least `ENOUGH` updates have ended, or all updates. `max_failure_rate` is a
    fraction from 0 to 1.
    """
    return failed > 0 and (ended >= ENOUGH or all_ended) and failed / ended > max_failure_rate


async def enqueue_withdrawal(connection: Connection, world_id: int, rollout_id: str) -> None:
    """Enqueue a new job each time, because a running job may have read the rows before this pause or halt."""
    await enqueue(connection, WITHDRAW, RolloutJob(world_id, rollout_id))
