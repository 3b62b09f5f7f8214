"""The last use of each key: collected in memory, written every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Self

import asyncpg
import structlog

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.outages import OUTAGES
from lapel.slices.projects import queries

if TYPE_CHECKING:
    from types import TracebackType

    from lapel.foundation.database.pool import Database

FLUSH_SECONDS = 5.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class KeyUse:
    """Collects the uses of keys, and writes them while it is open (`async with`). `record` never blocks.

    It holds one entry for each key that was used since the last flush, and not one for each use. A process
    that is killed loses the uses of the last few seconds.
    """

    def __init__(self, database: Database, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._database = database
        self._flush_seconds = flush_seconds
        self._used: dict[tuple[int, str], datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def record(self, world_id: int, key_id: str, now: datetime) -> None:
        """Record the use of a key."""
        self._used[world_id, key_id] = now

    async def flush(self) -> None:
        """Write the recorded uses. After an error, they stay recorded.

        Raises Unavailable while the database is unavailable, and PostgresError when the statement fails.
        """
        if not self._used:
            return
        used, self._used = self._used, {}
        try:
            async with self._database.acquire() as connection:
                await queries.record_use(connection, used)
        except BaseException:  # also when cancelled: the last flush runs after that
            self._used = {**used, **self._used}
            raise

    async def __aenter__(self) -> Self:
        """Start to write every `flush_seconds`."""
        self._task = asyncio.create_task(self._flush_for_ever(), name="key use")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and write the uses that are not written yet."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._flush_or_log()

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            await self._flush_or_log()

    async def _flush_or_log(self) -> None:
        try:
            await self.flush()
        except (Unavailable, asyncpg.PostgresError) as error:
            OUTAGES.tell(_log, "keys.use_not_written", error)
