"""Tells the streams of this process that their world has new positions."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lapel.foundation.database.listening import listen

if TYPE_CHECKING:
    from collections.abc import Generator


class Wakes:
    """One connection listens for all streams of the process, while there are any."""

    def __init__(self, dsn: str, channel: str) -> None:
        """`channel`: the payload of its notifications is a world."""
        self._dsn = dsn
        self._channel = channel
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None

    @contextmanager
    def of(self, world_id: int) -> Generator[asyncio.Event]:
        """An event that is set when the world may have new positions."""
        wake = asyncio.Event()
        self._waiting.setdefault(world_id, set()).add(wake)
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(listen(self._dsn, self._channel, self._told), name="wakes")
        try:
            yield wake
        finally:
            self._waiting[world_id].discard(wake)
            if not self._waiting[world_id]:
                del self._waiting[world_id]
            if not self._waiting:
                self._listening.cancel()
                self._listening = None

    def _told(self, payload: str) -> None:
        """Wake the streams of a world, or all of them after a connect: notifications may have been lost."""
        worlds = list(self._waiting) if not payload else [int(payload)]
        for world_id in worlds:
            for wake in self._waiting.get(world_id, ()):
                wake.set()
