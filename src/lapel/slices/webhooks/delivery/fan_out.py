"""Gives committed events their positions, and makes the deliveries of each event in the same transaction.

docs/decisions/0021 says why this is a loop of every worker and not a job for each event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.database import outbox
from lapel.slices.webhooks.delivery import fan_out_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.foundation.ports import Ports

# The most events, and about the most deliveries, of one transaction. An event with more webhooks than that is
# placed alone.
MOST_EVENTS = 1000
MOST_DELIVERIES = 5000


async def fan_out(ports: Ports) -> int:
    """Place the next events and make their deliveries; returns the number of events.

    Returns 0 when no event waits, or when another worker places events now: that worker looks again after its
    transaction, so no event is left. Raises Unavailable when the database is away.
    """
    async with ports.database.transaction() as connection:
        waiting = await outbox.unplaced(connection, MOST_EVENTS)
        if not waiting:
            return 0
        webhooks = await fan_out_queries.count_enabled(connection, list(set(waiting)))
        placed = await outbox.place(connection, _events_of_a_batch(waiting, webhooks))
        if not placed:
            return 0
        crash_point("fan-out:placed")
        matches = await fan_out_queries.match(connection, placed) if webhooks else []
        if matches:
            await fan_out_queries.insert_deliveries(connection, ports.ids, matches)
        crash_point("fan-out:before-commit")
    crash_point("fan-out:committed")
    return len(placed)


def _events_of_a_batch(waiting: Sequence[int], webhooks: Mapping[int, int]) -> int:
    """How many of the waiting events are placed together: at least one."""
    deliveries = 0
    for number, world_id in enumerate(waiting):
        deliveries += webhooks.get(world_id, 0)
        if deliveries > MOST_DELIVERIES:
            return max(number, 1)
    return len(waiting)
