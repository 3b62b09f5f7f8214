"""Waits that end when nothing happens any more, and not sooner because other work keeps the machine busy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

LONG = 120.0  # seconds: of a client that sees nothing move, far more than any answer takes on a busy machine
LOOK = 0.25  # seconds between two looks


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


async def settle() -> None:
    """Let every task run as far as it can without the database and other processes."""
    for _ in range(20):
        await asyncio.sleep(0)


class Deadline:
    """A time in so many seconds; seconds in which the machine is busy count in part. Ask for it often."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic()
        self._left = seconds

    def has_passed(self) -> bool:
        """Whether the seconds are over."""
        self.spend()
        return self._left < 0

    def spend(self) -> float:
        """Count the time since the last call; gives the part of it that other work took."""
        passed = time.monotonic() - self._at
        self._at += passed
        taken = passed * (1 - min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()[0], 0.01)))
        self._left -= passed - taken
        return taken


async def _extend(limit: asyncio.Timeout, seconds: float, moved: Callable[[], object] | None) -> None:
    clock, seen = Deadline(seconds), moved and moved()
    while True:
        await asyncio.sleep(LOOK)
        taken = clock.spend()
        end = limit.when()
        if end is None or limit.expired():
            return
        if moved is not None and (now := moved()) != seen:
            seen = now
            end = asyncio.get_running_loop().time() + seconds - taken
        limit.reschedule(end + taken)
