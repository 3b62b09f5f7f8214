"""Units that worlds share: who is next, who waits, and who loses its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from lapel.foundation.core.admission import Admission, NoRoom, Place, TooSlow
from tests.support.patience import settle

LONG = 60.0  # seconds that no test waits for


class Crowd:
    """Callers of one admission, and the order in which they came in."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.inside: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._leave: dict[str, asyncio.Event] = {}

    async def come(self, name: str, units: int = 1) -> None:
        """The first letter is the world."""
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._stay(name, units))
        await settle()

    async def _stay(self, name: str, units: int) -> None:
        async with self.admission.place(ord(name[0]), units):
            self.inside.append(name)
            await self._leave[name].wait()
        self.inside.remove(name)

    async def go(self, name: str) -> None:
        self._leave[name].set()
        await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        await settle()


@asynccontextmanager
async def crowd(total: int, of_one: int) -> AsyncGenerator[Crowd]:
    made = Crowd(Admission(total, of_one, patience=LONG))
    yield made
    for name in list(made.tasks):
        await made.cancel(name)


async def test_a_world_holds_its_share_and_no_more_though_units_are_free() -> None:
    async with crowd(total=4, of_one=2) as those:
        for name in ("a1", "a2", "a3", "b1", "c1"):
            await those.come(name)
        assert those.inside == ["a1", "a2", "b1", "c1"]
        await those.go("b1")
        assert "a3" not in those.inside
        await those.go("a1")
        assert "a3" in those.inside


async def test_the_world_that_holds_least_is_next_and_within_it_who_came_first() -> None:
    async with crowd(total=3, of_one=3) as those:
        for name in ("a1", "a2", "b1", "a3", "a4", "b2", "c1"):
            await those.come(name)
        for gone, came in (("a1", "c1"), ("b1", "b2"), ("a2", "a3"), ("c1", "a4")):
            await those.go(gone)
            assert those.inside[-1] == came


async def test_who_needs_much_is_not_overtaken_and_gets_all_there_are_at_most() -> None:
    async with crowd(total=10, of_one=5) as those:
        await those.come("a1", 4)
        await those.come("b1", 25)
        await those.come("c1", 1)
        assert those.inside == ["a1"]
        await those.go("a1")
        assert those.inside == ["b1"]
        await those.go("b1")
        assert those.inside == ["c1"]


async def test_who_gives_up_leaves_the_line_to_the_others() -> None:
    async with crowd(total=10, of_one=10) as those:
        await those.come("a1", 6)
        await those.come("b1", 10)
        await those.come("c1", 4)
        await those.cancel("b1")
        assert those.inside == ["a1", "c1"]
        await those.cancel("a1")
        await those.come("b2", 6)
        assert those.inside[-1] == "b2"


async def test_units_are_given_back_early() -> None:
    admission = Admission(10, 10, patience=LONG)
    async with admission.place(1, 10) as place:
        admission.shrink(place, 4)
        async with admission.place(2, 6):
            pass
    async with admission.place(3, 10):
        pass


async def test_patience_ends() -> None:
    admission = Admission(1, 1, patience=0.01)
    async with admission.place(1):
        with pytest.raises(NoRoom):
            async with admission.place(2):
                pass
    async with admission.place(2):
        pass


async def test_an_error_of_the_block_is_its_own() -> None:
    admission = Admission(1, 1, patience=0.01)
    with pytest.raises(TimeoutError):
        async with admission.place(1):
            raise TimeoutError
    async with admission.place(1):
        pass


def moving(place: Place, *, fast: bool) -> None:
    """Let a place move far more than it must, or nothing."""
    begun = asyncio.get_running_loop().time()
    place.least_rate = 1000
    place.moved = lambda: int((asyncio.get_running_loop().time() - begun) * 1e9) if fast else 0


async def stand_still(admission: Admission, world_id: int) -> None:
    """Hold a place and move nothing, until it is taken away."""
    async with admission.place(world_id) as place:
        moving(place, fast=False)
        await asyncio.sleep(LONG)


async def test_while_others_wait_the_slow_lose_their_units_and_the_fast_do_not() -> None:
    admission = Admission(2, 1, patience=LONG, window=0.02)
    async with admission.place(1) as place:
        moving(place, fast=True)
        slow = asyncio.create_task(stand_still(admission, 2))
        await asyncio.sleep(0.2)
        assert not slow.done(), "nobody waits: it may take its time"
        async with admission.place(3):
            with pytest.raises(TooSlow):
                await slow


async def test_a_full_world_waits_for_its_own_places_and_takes_no_others() -> None:
    admission = Admission(3, 1, patience=LONG, window=0.02)
    others, own = (asyncio.create_task(stand_still(admission, world)) for world in (1, 2))
    await settle()
    async with admission.place(2):
        with pytest.raises(TooSlow):
            await own
        await asyncio.sleep(0.1)
        assert not others.done()
    others.cancel()


async def test_who_lost_its_units_may_take_its_time_to_leave() -> None:
    admission = Admission(1, 1, patience=LONG, window=0.02)
    left = asyncio.Event()

    async def leave_slowly() -> None:
        async with admission.place(1) as place:
            moving(place, fast=False)
            try:
                await asyncio.sleep(LONG)
            finally:
                await left.wait()

    async def pass_through(world_id: int) -> None:
        async with admission.place(world_id):
            pass

    slow = asyncio.create_task(leave_slowly())
    await settle()
    waiting: list[asyncio.Task[None]] = []
    for world_id in range(2, 8):
        waiting.append(asyncio.create_task(pass_through(world_id)))
        await asyncio.sleep(0.05)
    left.set()
    with pytest.raises(TooSlow):
        await slow
    await asyncio.gather(*waiting)
    await pass_through(8)


async def test_who_is_kept_waiting_by_us_is_not_too_slow() -> None:
    admission = Admission(1, 1, patience=0.2, window=0.02)
    async with admission.place(1) as place:
        place.least_rate, place.moved = 1000, lambda: None
        with pytest.raises(NoRoom):
            async with admission.place(2):
                pass
