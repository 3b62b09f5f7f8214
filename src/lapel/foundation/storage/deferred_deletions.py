"""Objects that are deleted after the answer, because no promise depends on their deletion.

Names wait for half a second, and then go to the store in one request: so the deletions cost less, and they do
not slow the calls that a client makes right after the answer. If the store fails or the process ends, the
objects stay, and the caller has something else that deletes them later, such as a sweep.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.storage.client import ObjectStore

# The most names that wait, and the most of one request.
_MOST = 1000
# Seconds for which names wait for others.
_DELAY = 0.5
# Seconds for which the end of the process waits for the last deletions. An installation stops within five;
# requests under way get three of them, before these.
_LAST = 1.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class DeferredDeletions:
    """Deletes objects in the background, one request at a time."""

    def __init__(self, store: ObjectStore, point: str) -> None:
        """`point`: the crash point after each request."""
        self._store = store
        self._point = point
        self._waiting: list[str] = []
        self._deleting: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def add(self, names: Sequence[str]) -> None:
        """Delete these objects soon. A caller that finds too many waiting deletes its own at once."""
        if len(self._waiting) + len(names) > _MOST:
            await self._delete(names)
            return
        self._waiting += names
        if self._deleting is None and names:
            # Its own context: it works for several requests, and for no world.
            self._deleting = asyncio.create_task(self._work(), name="deletions", context=Context())

    async def aclose(self) -> None:
        """Delete what waits now; gives the store a second at most."""
        self._closing.set()
        deleting = self._deleting
        if deleting is not None:
            await asyncio.wait([deleting], timeout=_LAST)
            deleting.cancel()  # if the store hangs
            await asyncio.wait([deleting])

    async def _work(self) -> None:
        try:
            while self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DELAY):
                        await self._closing.wait()
                names, self._waiting = self._waiting, []
                await self._delete(names)
        finally:
            self._deleting = None

    async def _delete(self, names: Sequence[str]) -> None:
        try:
            await self._store.delete_many(names)
        except StoreUnavailable as error:
            _log.warning("deletions.left_for_sweep", objects=len(names), error=str(error))
        crash_point(self._point)
