"""Admission: a limited number of units (uploads, verifications, bytes of answers), shared between worlds.

A caller takes units, waits in line while none is free, and gives them back. The next caller is the one whose
world holds the fewest units; among equals, the one that has waited longest. A world that already holds units
may hold `of_one` in all. If a world holds no units, its next caller may take more than `of_one`, up to
`total`. While callers wait, each holder must move at least `least_rate` bytes per second; a slower holder
loses its units. If every world that waits has reached `of_one`, this rule applies only to the holders of
these worlds.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class NoRoom(Exception):
    """The units did not become free within the caller's patience."""


class TooSlow(Exception):
    """The units were taken back: others waited, and this holder moved too few bytes."""


class Place:
    """Units that one caller waits for or holds.

    `moved` returns the number of bytes that have moved so far, or None during a pause that is not the
    caller's fault. If `moved` is not set, the place is never taken back. `least_rate`: bytes per second that
    must move while others wait.
    """

    def __init__(self, world_id: int, units: int, number: int) -> None:
        self.world_id = world_id
        self.units = units
        self.number = number
        self.moved: Callable[[], int | None] | None = None
        self.least_rate = 0.0
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.limit = asyncio.timeout(None)
        # When, and at how many bytes, the present measurement began.
        self._measured_from: tuple[float, int] | None = None

    def measure(self, now: float, window: float) -> bool:
        """Whether the holder moved too little for `window` seconds; `now` is the loop's time, in seconds."""
        moved = None if self.moved is None else self.moved()
        if moved is None or self._measured_from is None:
            self._measured_from = None if moved is None else (now, moved)
            return False
        began, moved_then = self._measured_from
        if now - began < window:
            return False
        self._measured_from = now, moved
        return moved - moved_then < self.least_rate * (now - began)

    def rest(self) -> None:
        """Forget the present measurement, because no caller waits; the next one starts from now."""
        self._measured_from = None


class Admission:
    """At most `total` units are held at once.

    If a world already holds units, it gets more only while its sum stays at or below `of_one`; if `of_one` is
    None, only while as many units are free as it then holds. This is the dynamic threshold of Choudhury and
    Hahne (IEEE/ACM Transactions on Networking, 1998): no limit has to be chosen, and worlds that never give
    back leave room for others. Callers wait `patience` seconds at most. The bytes per second of holders are
    measured over at least `window` seconds. A holder is not measured if its place has no function `moved`,
    which returns the number of bytes moved so far. Only one event loop may use an Admission.
    """

    def __init__(self, total: int, of_one: int | None, *, patience: float, window: float = 5.0) -> None:
        self._total = total
        self._of_one = of_one
        self._patience = patience
        self._window = window
        self._free = total
        self._held: Counter[int] = Counter()
        self._places: set[Place] = set()
        self._lines: dict[int, deque[Place]] = {}
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self, world_id: int, units: int = 1) -> AsyncGenerator[Place]:
        """Hold units (at most `total`) for a block.

        Raises NoRoom when the units do not become free within `patience`, and TooSlow when they are taken
        back, which ends the block as a cancellation does.
        """
        self._asked += 1
        place = Place(world_id, min(units, self._total), self._asked)
        await self._enter(place)
        try:
            async with place.limit:
                yield place
        except TimeoutError as error:
            if place.limit.expired():
                raise TooSlow from error
            raise
        finally:
            self._leave(place)

    def shrink(self, place: Place, units: int) -> None:
        """Give back all but `units` of a place that is held."""
        given = place.units - min(place.units, units)
        place.units -= given
        self._give_back(place.world_id, given)

    async def _enter(self, place: Place) -> None:
        self._lines.setdefault(place.world_id, deque()).append(place)
        self._admit()
        if place.turn.done():
            return
        if self._timer is None:
            self._check()
        try:
            async with asyncio.timeout(self._patience):
                await place.turn
        except BaseException as error:
            if place in self._places:  # its turn had come just before
                self._leave(place)
            else:
                self._remove(place)
                self._admit()  # the free units, too few for this place, may be enough for the next
            if isinstance(error, TimeoutError):
                raise NoRoom from error
            raise

    def _leave(self, place: Place) -> None:
        self._places.discard(place)
        self._give_back(place.world_id, place.units)

    def _give_back(self, world_id: int, units: int) -> None:
        self._free += units
        self._held[world_id] -= units
        if not self._held[world_id]:
            del self._held[world_id]
        self._admit()

    def _admit(self) -> None:
        """Give free units to waiting callers, the next one in order first."""
        while firsts := [line[0] for line in self._lines.values() if self._may_hold(line[0])]:
            place = min(firsts, key=lambda each: (self._held[each.world_id], each.number))
            if place.units > self._free:
                return  # callers that need less do not overtake it
            self._remove(place)
            self._places.add(place)
            self._free -= place.units
            self._held[place.world_id] += place.units
            # If the turn is done already, its caller was cancelled a moment ago and gives the units back.
            if not place.turn.done():
                place.turn.set_result(None)

    def _may_hold(self, place: Place) -> bool:
        held = self._held[place.world_id]
        of_one = self._free if self._of_one is None else self._of_one
        return not held or held + place.units <= of_one

    def _remove(self, place: Place) -> None:
        line = self._lines[place.world_id]
        line.remove(place)
        if not line:
            del self._lines[place.world_id]

    def _check(self) -> None:
        """While callers wait, check a few times per window for holders that are too slow."""
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        # If a caller's world holds its share, the caller waits for units of this world; else for any units.
        in_all = any(self._may_hold(line[0]) for line in self._lines.values())
        for place in self._places:
            if not in_all and place.world_id not in self._lines:
                place.rest()
            elif place.limit.when() is None and place.measure(now, self._window):
                place.limit.reschedule(now)  # once only, because the holder may take a while to leave
        if self._lines:
            self._timer = loop.call_later(self._window / 5, self._check)
