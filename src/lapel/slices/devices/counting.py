"""Counts of the fleet, from the devices' rows.

The columns that heartbeats write have no index, so a count reads all devices of the world. This takes about
40 ms for 100,000 devices. To limit the load on the database, a process counts one fleet at a time. It caches
the counts of a large fleet for one second per 100,000 devices, but for at most 10 seconds.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from lapel.slices.devices import queries
from lapel.slices.devices.views import ONLINE_FOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.database.pool import Database
    from lapel.slices.devices.rows import CountsRow

LOW_BATTERY_PERCENT = 15
# Fleets up to this size are counted each time.
LARGE = 10_000
_DEVICES_PER_SECOND = 100_000
_LONGEST_SECONDS = 10.0


class FleetCounts:
    """Counts devices; caches the counts of large fleets."""

    def __init__(self, database: Database, seconds: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._seconds = seconds
        self._one_at_a_time = asyncio.Lock()
        # For each world: the end of the counts' validity, in seconds, and the counts.
        self._kept: dict[int, tuple[float, CountsRow]] = {}

    async def of_world(self, world_id: int, now: datetime) -> CountsRow:
        """`total_count`, `online_count`, `low_battery_count`, `storage_full_count` of the world's devices.

        Raises Unavailable while the database is unavailable.
        """
        found = self._known(world_id)
        if found is not None:
            return found
        async with self._one_at_a_time:
            found = self._known(world_id)  # counted while this call waited
            if found is None:
                async with self._database.acquire() as connection:
                    found = await count(connection, world_id, now, None)
                self._keep(world_id, found)
        return found

    def _known(self, world_id: int) -> CountsRow | None:
        until, found = self._kept.get(world_id, (0.0, None))
        return found if self._seconds() < until else None

    def _keep(self, world_id: int, found: CountsRow) -> None:
        now = self._seconds()
        self._kept = {world: kept for world, kept in self._kept.items() if now < kept[0]}
        if found.total_count > LARGE:
            lasts = min(found.total_count / _DEVICES_PER_SECOND, _LONGEST_SECONDS)
            self._kept[world_id] = (now + lasts, found)


async def count(connection: Connection, world_id: int, now: datetime, end_user_id: str | None) -> CountsRow:
    """The counts of `of_world`, read now. `end_user_id`: count only this end user's devices; None: all."""
    return await queries.counts(connection, world_id, now - ONLINE_FOR, LOW_BATTERY_PERCENT, end_user_id)
