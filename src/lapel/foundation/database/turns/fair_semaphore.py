"""A limited number of places, given to callers in the order of their requests.

docs/decisions/0010 says why Lapel does not wait in asyncpg's queue.
"""

from __future__ import annotations

import asyncio
from collections import deque


class FairSemaphore:
    """At most `places` callers are inside at once; the others wait in line, `patience` seconds at most.

    `asyncio.Semaphore` with `asyncio.timeout` sets a timer for each caller, which costs more (decision 0010).
    Here all waiting callers share one timer, because the first in line is also the first whose patience ends.
    """

    def __init__(self, places: int, patience: float) -> None:
        self._free = places
        self._patience = patience
        self._line: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """Whether every place is taken."""
        return not self._free

    def try_enter(self) -> bool:
        """Take a place if one is free. If the result is True, the caller must call `leave` later."""
        if not self._free:
            return False
        self._free -= 1  # a place is free only while no caller waits
        return True

    async def enter(self) -> None:
        """Take a place; the caller must call `leave` later.

        Raises TimeoutError after `patience` seconds; the caller then has no place and must not call `leave`.
        """
        if self.try_enter():
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        deadline = loop.time() + self._patience
        self._line.append((deadline, turn))
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._send_away)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # the place had been given just before
            raise

    def leave(self) -> None:
        """Give the place to the caller that has waited longest; without one, the place becomes free."""
        while self._line:
            _, turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _send_away(self) -> None:
        """End the wait of callers whose time is over; set the timer for the first that still waits."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._line:
            deadline, turn = self._line[0]
            if turn.done():
                self._line.popleft()
            elif deadline <= loop.time():
                self._line.popleft()
                turn.set_exception(TimeoutError())
            else:
                self._timer = loop.call_at(deadline, self._send_away)
                return
