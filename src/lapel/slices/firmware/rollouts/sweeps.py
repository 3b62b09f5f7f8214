"""Scheduled clean-up: assignments after their deadline, and objects without a release."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.core.ids import made_at
from lapel.foundation.storage import object_names
from lapel.slices.firmware import queries
from lapel.slices.firmware.assignments import assignment_state_queries, failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.ports import Ports
    from lapel.foundation.storage.object_info import ObjectInfo

# Twice `releases.LONGEST_UPLOAD`: the longest time from the start of an upload until its row is written.
ORPHAN_GRACE = timedelta(hours=24)
_BATCH = 500

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Sweeps:
    """The sweeps of the worker's schedules. Several sweeps may run at once."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def end_late(self) -> int:
        """Fail every assignment whose deadline has passed. Returns their number.

        Raises Unavailable while the database is unavailable.
        """
        total = 0
        while True:
            now = self._ports.clock.now()
            async with self._ports.database.transaction() as connection:
                late = await assignment_state_queries.expire(connection, now, _BATCH)
                if late:
                    await failures.failed(connection, self._ports.ids, now, late)
                crash_point("deadlines:before-commit")
            crash_point("deadlines:committed")
            total += len(late)
            if len(late) < _BATCH:
                return total

    async def remove_orphans(self) -> int:
        """Delete files of uploads that were refused or killed. Returns their number.

        Raises StoreUnavailable while the store is unavailable, and Unavailable while the database is.
        """
        total = 0
        async for listed in self._ports.store.pages(object_names.FIRMWARE):
            old = self._old(listed)
            if not old:
                continue
            async with self._ports.database.acquire() as connection:
                served = await queries.served(connection, old)
            orphans = [key for key in old if key not in served]
            if orphans:
                crash_point("firmware-sweep:before-delete")
                await self._ports.store.delete_many(orphans)
                crash_point("firmware-sweep:deleted")
                _log.info("firmware.orphans-removed", keys=orphans)
            total += len(orphans)
        return total

    def _old(self, listed: Sequence[ObjectInfo]) -> list[str]:
        """Firmware files that are old by two clocks: the store's clock and the uploading process's clock."""
        before = self._ports.clock.now() - ORPHAN_GRACE
        old: list[str] = []
        for each in listed:
            release_id = object_names.firmware_release(each.key)
            begun_at = None if release_id is None else made_at(release_id)
            if begun_at is not None and begun_at < before and each.last_modified < before:
                old.append(each.key)
        return old
