"""A look that several ask for at once."""

from __future__ import annotations

import asyncio
from itertools import count

from lapel.slices.system.shared_look import SharedLook


async def test_each_gets_what_its_look_told_also_if_another_begins_at_its_end() -> None:
    ends = [asyncio.Event(), asyncio.Event()]
    numbers = count()

    async def look() -> int:
        number = next(numbers)
        await ends[number].wait()
        return number

    shared = SharedLook(look, "look")
    first = asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    later: list[asyncio.Task[int]] = []
    ends[0].set()
    for _ in range(10):  # in each turn of the loop, so also between the end of the look and its first reader
        later.append(asyncio.create_task(shared.get()))
        await asyncio.sleep(0)
    ends[1].set()
    assert await first == 0
    assert {await each for each in later} <= {0, 1}
    assert next(numbers) == 2, "they shared two looks"
