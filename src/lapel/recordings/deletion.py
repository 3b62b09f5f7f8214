"""Deletion: at once in every answer, in the store by the erasure's job.

One transaction writes the tombstone, the ledger entry and the job, and removes the rows. A
completion under way finds its row gone and deletes its copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lapel.foundation.faults import crash_point
from lapel.foundation.pages import BEFORE_ALL
from lapel.foundation.storage import keys
from lapel.recordings import deletion_queries, events
from lapel.recordings.access import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from lapel.erasure.service import Erasures
    from lapel.foundation.database import Connection
    from lapel.foundation.kit import Kit
    from lapel.recordings.access import Reach

# Recordings of an end user that are deleted by one set of statements.
_CHUNK = 500


class OnDelete(Protocol):
    """What another slice erases of recordings that go, in the transaction that deletes them."""

    async def __call__(self, connection: Connection, world_id: int, recording_ids: list[str]) -> None: ...


class Deletion:
    """Deletes recordings, one or all of an end user."""

    def __init__(self, kit: Kit, erasures: Erasures, on_delete: Sequence[OnDelete] = ()) -> None:
        self._kit = kit
        self._erasures = erasures
        self._on_delete = on_delete

    async def delete(self, at: Reach) -> None:
        """From now on the recording is 404 and in no list. Raises NotFound."""
        async with self._kit.database.transaction() as connection:
            rows = await deletion_queries.lock_one(connection, at)
            if not rows:
                raise unknown()
            crash_point("delete:locked")
            await self._delete_rows(connection, at.world_id, rows, None, self._kit.clock.now())
            crash_point("delete:before-commit")
        crash_point("delete:committed")

    async def erase_all_of(
        self, connection: Connection, world_id: int, end_user_id: str, now: datetime
    ) -> None:
        """Everything of a deleted end user, in the transaction that deletes it.

        The caller holds the end user's row, so that no recording is added meanwhile.
        """
        last = BEFORE_ALL
        while rows := await deletion_queries.lock_of_end_user(
            connection, world_id, end_user_id, _CHUNK, last
        ):
            await self._delete_rows(connection, world_id, rows, end_user_id, now)
            last = min((row["created_at"], row["id"]) for row in rows)
        await self._erasures.start_end_user(connection, world_id, end_user_id)

    async def _delete_rows(
        self,
        connection: Connection,
        world_id: int,
        rows: Sequence[asyncpg.Record],
        end_user_id: str | None,
        now: datetime,
    ) -> None:
        """`rows`: id, created_at, project_id and last_url_expires_at of locked recordings."""
        ids = [row["id"] for row in rows]
        await deletion_queries.insert_tombstones(
            connection, world_id, ids, [row["created_at"] for row in rows], now
        )
        await self._erasures.open_recordings(
            connection,
            world_id,
            [
                (row["id"], keys.recording_prefixes(row["project_id"], row["id"]), row["last_url_expires_at"])
                for row in rows
            ],
            end_user_id=end_user_id,
            now=now,
        )
        crash_point("delete:ledger-written")
        for erase in self._on_delete:
            await erase(connection, world_id, ids)
        await deletion_queries.delete_recordings(connection, world_id, ids)
        crash_point("delete:rows-deleted")
        deleted = [
            events.deleted_recording(row["id"], row["project_id"], row["created_at"], now) for row in rows
        ]
        await events.publish_deleted(connection, self._kit.ids, now, world_id, deleted)
