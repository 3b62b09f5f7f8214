"""Copies of recordings on workers' disks. Each copy has a row from before its first byte until it is gone.

A notification tells a worker of a deletion at once. Notifications may be lost, so each worker also polls
every few seconds. An entry of the ledger closes only when no row of a live worker names its recording.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database import listening
from lapel.slices.erasure import local_copy_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lapel.foundation.database.pool import Database


class LocalCopies:
    """The copies that holders have. A holder is the unique name of a folder on one machine."""

    def __init__(self, database: Database, *, listen_dsn: str | None = None) -> None:
        self._database = database
        self._listen_dsn = listen_dsn or database.dsn

    async def register(self, holder: str, world_id: int, recording_id: str) -> bool:
        """Register a copy. True when the copy may be made, False when the recording is deleted.

        This method commits its row before it reads the ledger; a deletion writes its entry before it reads
        the rows. If the two run at once, at least one of them sees what the other wrote. Raises Unavailable
        while the database is unavailable.
        """
        async with self._database.acquire() as connection:
            await local_copy_queries.put(connection, holder, world_id, recording_id)
        async with self._database.acquire() as connection:
            return not await local_copy_queries.is_erased(connection, world_id, recording_id)

    async def forget(self, holder: str, world_id: int, recording_id: str) -> None:
        """Remove the row of a copy that is gone. Raises Unavailable while the database is unavailable."""
        async with self._database.acquire() as connection:
            await local_copy_queries.delete(connection, holder, world_id, recording_id)

    async def forget_holders(self, holders: Sequence[str]) -> None:
        """Remove all rows of holders that are gone. Raises Unavailable while the database is unavailable."""
        async with self._database.acquire() as connection:
            await local_copy_queries.delete_of_holders(connection, holders)

    async def renew(self, holder: str) -> set[tuple[int, str]]:
        """Renew the rows of a live holder. Returns (world, recording) of its copies of deleted recordings.

        Raises Unavailable while the database is unavailable.
        """
        async with self._database.acquire() as connection:
            await local_copy_queries.renew(connection, holder)
            return await local_copy_queries.erased_of(connection, holder)

    async def listen(self, holder: str, on_erased: Callable[[], None]) -> None:
        """Call `on_erased` when a recording of the holder's copies is deleted, and after each connect.

        Runs until it is cancelled, and connects again after an outage of the database.
        """

        def told(payload: str) -> None:
            if payload in ("", holder):
                on_erased()

        await listening.listen(self._listen_dsn, local_copy_queries.CHANNEL, told)
