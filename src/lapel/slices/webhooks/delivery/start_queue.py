"""Begins the attempts of claimed deliveries, some in each turn of the event loop; worlds take turns.

A claim gives hundreds of deliveries. If all their attempts began at once, the event loop would do nothing
else for tens of milliseconds: answers would wait, and so would the next claim and the writing of outcomes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Attempts that begin in one turn.
_OF_A_TURN = 4


class StartQueue:
    """Functions that begin one attempt each. The next one is of the world whose last one was the earliest;
    those of a world begin in their order."""

    def __init__(self) -> None:
        # The worlds stand in the order of their turns.
        self._starts: dict[int, deque[Callable[[], None]]] = {}
        self._waiting = 0
        self._turn: asyncio.Handle | None = None
        self._few = 0
        self._only_few = asyncio.Event()

    def put(self, world_id: int, start: Callable[[], None]) -> None:
        """Call `start` in one of the next turns."""
        self._starts.setdefault(world_id, deque()).append(start)
        self._waiting += 1
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._start_some)

    async def quarter_started(self) -> None:
        """Return when a quarter of the attempts that wait now, or more, have begun."""
        self._few = self._waiting * 3 // 4
        self._only_few.clear()
        if self._waiting:
            await self._only_few.wait()

    def start_all(self) -> None:
        """Call all functions that wait, now."""
        while self._waiting:
            self._start_one()

    def _start_some(self) -> None:
        for _ in range(min(self._waiting, _OF_A_TURN)):
            self._start_one()
        if self._waiting <= self._few:
            self._only_few.set()
        loop = asyncio.get_running_loop()
        self._turn = loop.call_soon(self._start_some) if self._waiting else None

    def _start_one(self) -> None:
        world_id = next(iter(self._starts))
        starts = self._starts.pop(world_id)
        start = starts.popleft()
        if starts:
            self._starts[world_id] = starts
        self._waiting -= 1
        start()
