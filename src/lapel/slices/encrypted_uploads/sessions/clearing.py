"""Deletes staged objects that nothing needs any more.

The object of a cancelled, failed or published session goes at once, and once more a day after the session's
end: until then, a PUT that began under a valid URL may write the object again. The object of a session that
got no manifest goes a day after the session's end. A walk over the store deletes objects that come even
later, or whose recording is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.storage import object_names
from lapel.slices.encrypted_uploads.sessions import clearing_queries
from lapel.slices.encrypted_uploads.sessions.issuance import LATE_PUT_GRACE, LIFE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.foundation.storage.object_info import ObjectInfo

_BATCH = 500
# No URL leads to an object that is older, and no PUT that began under one still runs.
_STRAY_GRACE = LIFE + LATE_PUT_GRACE

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Clearing:
    """Deletes staged objects."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def run_due(self) -> int:
        """Delete every object that is due. Returns the number of sessions.

        Holds no connection and no lock while the store deletes: a session that is due needs its object no
        more, and to delete it twice does no harm.

        Raises StoreUnavailable when the store fails, and Unavailable when the database fails. The next run
        then continues.
        """
        done = 0
        while True:
            now = self._ports.clock.now()
            async with self._ports.database.acquire() as connection:
                rows = await clearing_queries.find_due(connection, now, _BATCH)
            if not rows:
                return done
            await self._ports.store.delete_many([row.staging_key for row in rows])
            crash_point("encrypted-clear:objects-deleted")
            async with self._ports.database.acquire() as connection:
                await clearing_queries.set_cleared(connection, rows, now, LATE_PUT_GRACE)
            crash_point("encrypted-clear:committed")
            done += len(rows)

    async def run_walk(self) -> int:
        """Delete old objects that no session leads to any more. Returns their number.

        There are few objects at a time, because the publication deletes them. Raises as `run_due`.
        """
        deleted = 0
        async for listed in self._ports.store.pages(object_names.SEALED):
            oldest = self._ports.clock.now() - _STRAY_GRACE
            strays = await self._strays([each for each in listed if each.last_modified < oldest])
            if strays:
                await self._ports.store.delete_many(strays)
                deleted += len(strays)
                _log.info("encrypted_uploads.strays_deleted", objects=len(strays))
        return deleted

    async def _strays(self, old: Sequence[ObjectInfo]) -> list[str]:
        named = {each.key: object_names.parse_sealed(each.key) for each in old}
        names = [name for name in named.values() if name is not None]
        if not names:
            return []
        async with self._ports.database.acquire() as connection:
            kept = set(
                await clearing_queries.find_looked_after(
                    connection, [name.project_id for name in names], [name.session_id for name in names]
                )
            )
        return [key for key, name in named.items() if name is not None and key not in kept]


async def last_upload_ends(
    connection: Connection, world_id: int, recording_ids: list[str]
) -> dict[str, datetime]:
    """For the deletion of recordings: when the last upload URL ends, of those that have sessions."""
    rows = await clearing_queries.last_ends(connection, world_id, recording_ids)
    return {row.recording_id: row.expires_at for row in rows}
