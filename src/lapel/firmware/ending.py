"""What follows when updates fail: whoever finds it out, it is told once, and rollouts look at their rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.firmware import events
from lapel.firmware.payloads import ADVANCE, RolloutJob
from lapel.foundation.jobs import enqueue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from lapel.foundation.database import Connection
    from lapel.foundation.ids import Ids


async def failed(connection: Connection, ids: Ids, now: datetime, rows: Sequence[asyncpg.Record]) -> None:
    """In the transaction that ended these assignments."""
    await events.publish(connection, ids, now, "ota.failed", rows)
    for world_id, rollout_id in {(row["world_id"], row["rollout_id"]) for row in rows}:
        if rollout_id is not None:
            await advance(connection, world_id, rollout_id)


async def advance(connection: Connection, world_id: int, rollout_id: str) -> None:
    """Have a worker look at a rollout; one that is about to, does."""
    await enqueue(connection, ADVANCE, RolloutJob(world_id, rollout_id), dedupe=rollout_id)
