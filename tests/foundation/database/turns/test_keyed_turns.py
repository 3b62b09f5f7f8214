"""Of callers with the same key, one is inside, whatever the others do."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.turns.keyed_turns import KeyedTurns
from tests.support.patience import settle


@settings(max_examples=200)
@given(
    callers=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.none() | st.integers(0, 4)), max_size=20
    ),
    patience=st.sampled_from((10, 0.0001)),
)
async def test_one_of_each_key_is_inside_and_the_others_follow_in_their_order(
    callers: list[tuple[int, int, int | None]], patience: float
) -> None:
    """Each caller: its key, for how many turns of the event loop it stays, and the one that cancels it."""
    turns = KeyedTurns(patience, "too late")
    inside, entered = Counter[int](), list[int]()

    async def call(number: int, key: int, stays: int) -> None:
        await turns.enter(key)
        inside[key] += 1
        assert inside[key] == 1
        entered.append(number)
        try:
            for _ in range(stays):
                await asyncio.sleep(0)
        finally:
            inside[key] -= 1
            turns.leave(key)

    tasks = [asyncio.create_task(call(number, key, stays)) for number, (key, stays, _) in enumerate(callers)]
    for turn in range(5):
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, callers, strict=True):
            if cancelled == turn:
                task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for key in range(3):
        own = [number for number in entered if callers[number][0] == key]
        assert own == sorted(own)
    for task, (_, _, cancelled) in zip(tasks, callers, strict=True):
        assert cancelled is not None or not task.cancelled()
        if not task.cancelled() and (fault := task.exception()) is not None:
            assert isinstance(fault, Unavailable)
            assert patience < 1
    assert turns.keys == 0


async def test_a_caller_waits_only_so_long_and_then_has_no_turn() -> None:
    turns = KeyedTurns(0.05, "They are not answered yet.")
    await turns.enter("a")
    await turns.enter("b")
    late = [asyncio.create_task(turns.enter("a")) for _ in range(2)]
    for found in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(found, Unavailable)
    turns.leave("a")
    await turns.enter("a")
    with pytest.raises(Unavailable, match="not answered yet"):
        await turns.enter("a")
    turns.leave("a")
    turns.leave("b")
    assert turns.keys == 0


async def test_a_caller_who_is_cancelled_in_the_moment_of_its_turn_keeps_no_place() -> None:
    turns = KeyedTurns(10, "too late")
    await turns.enter("a")
    waiting = [asyncio.create_task(turns.enter("a")) for _ in range(2)]
    await settle()
    turns.leave("a")
    waiting[0].cancel()
    await settle()
    assert [each.done() for each in waiting] == [True, True]
    turns.leave("a")
    assert turns.keys == 0

    await turns.enter("a")
    last = asyncio.create_task(turns.enter("a"))
    await settle()
    turns.leave("a")
    last.cancel()
    await settle()
    assert turns.keys == 0, "nobody is left who could free it"
