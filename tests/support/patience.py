"""Waits that end when nothing happens any more, and not sooner because other work keeps the machine busy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

_LOOK = 0.25  # seconds between two looks


@asynccontextmanager
async def patience(seconds: float, moved: Callable[[], object] | None = None) -> AsyncGenerator[None]:
    """As `asyncio.timeout`, but the time of a machine with more work than cores counts in part.

    `moved`: while its value changes, the wait goes on; it ends `seconds` after the last change. Raises
    TimeoutError.
    """
    async with asyncio.timeout(seconds) as limit:
        watching = asyncio.create_task(_extend(limit, seconds, moved))
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def _extend(limit: asyncio.Timeout, seconds: float, moved: Callable[[], object] | None) -> None:
    spent, seen = Spent(), moved and moved()
    while True:
        await asyncio.sleep(_LOOK)
        lost = spent.not_counted()
        end = limit.when()
        if end is None or limit.expired():
            return
        if moved is not None and (now := moved()) != seen:
            seen = now
            end = asyncio.get_running_loop().time() + seconds - lost
        limit.reschedule(end + lost)


class Spent:
    """The time that passes, of which only a part counts while the machine has more work than cores."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def not_counted(self) -> float:
        """Seconds since the last call that other work took."""
        passed = time.monotonic() - self._at
        self._at += passed
        return passed * (1 - min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()[0], 0.01)))
