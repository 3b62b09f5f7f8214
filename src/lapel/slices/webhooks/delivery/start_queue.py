"""Begins the attempts of claimed deliveries, some in each turn of the event loop.

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
_OF_A_TURN = 16


class StartQueue:
    """Functions that begin one attempt each, in the order in which they are called."""

    def __init__(self) -> None:
        self._starts: deque[Callable[[], None]] = deque()
        self._turn: asyncio.Handle | None = None
        self._few = 0
        self._only_few = asyncio.Event()

    def put(self, start: Callable[[], None]) -> None:
        """Call `start` in one of the next turns."""
        self._starts.append(start)
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._start_some)

    async def quarter_started(self) -> None:
        """Return when a quarter of the attempts that wait now, or more, have begun."""
        self._few = len(self._starts) * 3 // 4
        self._only_few.clear()
        if self._starts:
            await self._only_few.wait()

    def start_all(self) -> None:
        """Call all functions that wait, now."""
        while self._starts:
            self._starts.popleft()()

    def _start_some(self) -> None:
        for _ in range(min(len(self._starts), _OF_A_TURN)):
            self._starts.popleft()()
        if len(self._starts) <= self._few:
            self._only_few.set()
        loop = asyncio.get_running_loop()
        self._turn = loop.call_soon(self._start_some) if self._starts else None
