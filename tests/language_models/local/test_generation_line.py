"""Who is next at the one model of a machine."""

from __future__ import annotations

import asyncio

import pytest

from lapel.slices.language_models.language_model import Purpose
from lapel.slices.language_models.local.generation_line import GenerationLine
from lapel.slices.language_models.model_failures import ModelAway


class Turns:
    """Callers that wait; `order` has their names in the order of their turns."""

    def __init__(self, patience: float = 60.0) -> None:
        self.line = GenerationLine({"ask": patience, "summary": patience})
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self, name: str, world: int, purpose: Purpose = "ask") -> asyncio.Task[None]:
        async def take() -> None:
            async with self.line.turn(world, purpose):
                self.order.append(name)

        task = asyncio.create_task(take())
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def all(self) -> list[str]:
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.order


async def test_the_world_that_waited_longest_for_a_turn_is_next() -> None:
    turns = Turns()
    async with turns.line.turn(1, "ask"):
        for number in range(4):
            await turns.begin(f"one {number}", 1)
        await turns.begin("two", 2)
        await turns.begin("three", 3)
        await turns.begin("two again", 2)
    assert await turns.all() == ["two", "three", "one 0", "two again", "one 1", "one 2", "one 3"]


async def test_within_a_world_a_user_who_waits_comes_before_a_summary() -> None:
    turns = Turns()
    async with turns.line.turn(1, "ask"):
        await turns.begin("summary", 1, "summary")
        await turns.begin("answer", 1, "ask")
    assert await turns.all() == ["answer", "summary"]


async def test_a_caller_who_leaves_costs_nobody_a_turn() -> None:
    turns = Turns()
    async with turns.line.turn(1, "ask"):
        first = await turns.begin("first", 1)
        second = await turns.begin("second", 1)
        third = await turns.begin("third", 1)
        second.cancel()
    first.cancel()  # its turn has just come
    assert await turns.all() == ["third"]
    assert third.done()
    async with turns.line.turn(1, "ask"):
        pass


async def test_a_world_has_few_places_in_the_line_and_all_have_not_many() -> None:
    turns = Turns()
    async with turns.line.turn(1, "ask"):
        for number in range(8):
            await turns.begin(str(number), 1)
        with pytest.raises(ModelAway, match="Too many") as away:
            await (await turns.begin("nine", 1))
        assert away.value.after == 60.0
        for world in range(2, 58):
            await turns.begin("other", world)
        with pytest.raises(ModelAway, match="Too many"):
            await (await turns.begin("last", 99))
    assert len(await turns.all()) == 64


async def test_who_waits_too_long_is_sent_away() -> None:
    turns = Turns(patience=0.01)
    async with turns.line.turn(1, "ask"):
        with pytest.raises(ModelAway, match="busy"):
            await (await turns.begin("late", 2))
    async with turns.line.turn(1, "ask"):
        pass


async def test_a_turn_says_whether_the_one_before_was_of_the_same_world() -> None:
    line = GenerationLine({"ask": 1.0, "summary": 1.0})
    said: list[bool] = []
    for world in (1, 1, 2, 1, 1):
        async with line.turn(world, "ask") as same:
            said.append(same)
    assert said == [False, True, False, False, True]
