"""Staged objects that a completion has accepted or refused are deleted soon after its answer, many in one
request.

No promise depends on the deletion, so no caller waits for it. If the process is killed first, or the store
fails, the reconciler's sweep deletes the objects (`reconcile/store_scan.py`): their attempts are final.
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

# Seconds from the first object until the request. Meanwhile further objects join it.
_WAIT = 0.1
# The most objects that wait or are being deleted: one request of S3. With more, the caller waits.
_MOST = 1000
# Seconds that a process that ends waits for the store.
_LAST = 0.3

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class StagedDeletions:
    """Deletes objects soon. `aclose` deletes those that still wait."""

    def __init__(self, store: ObjectStore, *, most: int = _MOST) -> None:
        self._store = store
        self._most = most
        self._waiting: list[str] = []
        self._under_way: list[str] = []
        self._deleting: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects soon; at once if too many wait, or none can wait any more."""
        if self._closing.is_set() or len(self._waiting) + len(self._under_way) + len(keys) > self._most:
            await self._delete(keys)
            return
        self._waiting += keys
        if self._deleting is None and keys:
            # The task serves several requests, so it has the context (request id, log fields) of none.
            self._deleting = asyncio.create_task(self._run(), name="staged deletions", context=Context())

    async def aclose(self) -> None:
        """Delete the objects that wait, without further delay. Later callers wait for their deletions.

        A store that does not answer soon keeps no process from ending: the sweep deletes what is left.
        """
        self._closing.set()
        deleting = self._deleting
        if deleting is not None:
            await asyncio.wait([deleting], timeout=_LAST)
            if not deleting.done():
                left = len(self._waiting) + len(self._under_way)
                _log.warning("completion.left_for_sweep", objects=left, error="the process ends")
                deleting.cancel()
                await asyncio.wait([deleting])

    async def _run(self) -> None:
        try:
            while self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_WAIT):
                        await self._closing.wait()
                self._under_way, self._waiting = self._waiting, []
                await self._delete(self._under_way)
        finally:
            self._under_way, self._deleting = [], None

    async def _delete(self, keys: Sequence[str]) -> None:
        crash_point("complete:before-deletion")
        try:
            await self._store.delete_many(keys)
            crash_point("complete:staging-deleted")
        except StoreUnavailable as error:
            _log.warning("completion.left_for_sweep", objects=len(keys), error=str(error))
        except Exception:  # noqa: BLE001 - the next ones are deleted in any case
            _log.exception("completion.left_for_sweep", objects=len(keys))
