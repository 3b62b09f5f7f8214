"""Attempts begin some at a time, so that the event loop also does other things meanwhile."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise

from lapel.slices.webhooks.delivery.start_queue import StartQueue


async def test_other_tasks_run_between_the_starts() -> None:
    queue, started = StartQueue(), list[int]()
    for number in range(100):
        queue.put(1, partial(started.append, number))
    counts = [0]
    while counts[-1] < 100:
        await asyncio.sleep(0)
        counts.append(len(started))
    assert started == list(range(100))
    assert max(later - before for before, later in pairwise(counts)) == 4


async def test_the_wait_for_a_quarter_of_them_ends_before_all_have_begun() -> None:
    queue, started = StartQueue(), list[int]()
    for number in range(100):
        queue.put(1, partial(started.append, number))
    await queue.quarter_started()
    assert 25 <= len(started) < 100


async def test_without_starts_there_is_nothing_to_wait_for() -> None:
    queue = StartQueue()
    await queue.quarter_started()


async def test_all_that_wait_may_start_at_once() -> None:
    queue, started = StartQueue(), list[int]()
    for number in range(100):
        queue.put(1, partial(started.append, number))
    waiting = asyncio.create_task(queue.quarter_started())
    await asyncio.sleep(0)
    queue.start_all()
    assert started == list(range(100))
    await waiting


async def test_worlds_take_turns_and_each_keeps_its_order() -> None:
    queue, started = StartQueue(), list[tuple[int, int]]()
    for world_id, number in [(1, n) for n in range(6)] + [(2, 0), (2, 1), (3, 0)]:
        queue.put(world_id, partial(started.append, (world_id, number)))
    queue.start_all()
    assert started == [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (1, 3), (1, 4), (1, 5)]
