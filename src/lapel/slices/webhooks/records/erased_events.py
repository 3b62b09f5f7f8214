"""Removes the rows of erased events, in bounded batches.

The deletion of a device or a recording takes the data out of its events and hides them. Each event may have
a delivery for each webhook of its world (`LAPEL_WEBHOOKS_PER_WORLD`), so that transaction does not delete
their rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.database import outbox
from lapel.slices.webhooks.records import ending_queries

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

# The most events of one transaction, and the most deliveries.
_EVENTS = 200
_BATCH = 1000


class ErasedEvents:
    """Removes erased events with their deliveries, the worlds in turn. It may be repeated at any point."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._after = 0

    async def remove_some(self) -> int:
        """Remove rows of the next world that has erased events. Returns the number of rows.

        Returns 0 when there are none, or when other transactions have locked them. Raises Unavailable when
        the database is away.
        """
        async with self._ports.database.transaction() as connection:
            world_id = await outbox.next_world_with_erased(connection, self._after)
            if world_id is None and self._after:
                world_id = await outbox.next_world_with_erased(connection, 0)
            if world_id is None:
                return 0
            self._after = world_id
            locked = await outbox.lock_erased(connection, world_id, _EVENTS)
            if not locked:
                return 0
            deleted = await ending_queries.delete_some_of_events(connection, world_id, locked, _BATCH)
            free = await ending_queries.without_deliveries(connection, world_id, locked)
            await outbox.remove_erased(connection, world_id, free)
            crash_point("remove-erased:before-commit")
        crash_point("remove-erased:committed")
        return deleted + len(free)
