"""Writes that share statements have the effects of the same writes one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lapel.foundation.database.pool import Database
from lapel.foundation.database.together import Together
from lapel.foundation.database.turns.keyed_turns import KeyedTurns

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

COUNTERS = "CREATE TABLE counters (name int PRIMARY KEY, value int NOT NULL CHECK (value < 20))"
COUNT = """
INSERT INTO counters AS c
SELECT name, step FROM unnest($1::int[], $2::int[]) AS asked (name, step) ORDER BY name
ON CONFLICT (name) DO UPDATE SET value = c.value + excluded.value RETURNING name, value
"""
ALL = "SELECT name, value FROM counters"


@pytest.mark.parametrize("under_way", [1, 2])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 8), st.sampled_from(("stay", "leave"))), max_size=40
    )
)
async def test_writes_end_as_one_by_one(
    database: Database, under_way: int, steps: list[tuple[int, int, str]]
) -> None:
    """With turns, the calls for each counter take effect in their order; one that breaks its limit changes
    nothing."""
    async with database.acquire() as connection:
        await connection.execute(f"DROP TABLE IF EXISTS counters; {COUNTERS}")

    async def count(connection: Connection, asked: Sequence[tuple[int, int]]) -> list[int]:
        names = [name for name, _ in asked]
        assert len(set(names)) == len(names), "a counter is twice in one statement"
        rows = await connection.fetch(COUNT, names, [step for _, step in asked])
        found = {row["name"]: row["value"] for row in rows}
        return [found[name] for name in names]

    together, turns = Together(database, count, under_way=under_way), KeyedTurns(10, "too late")

    async def ask(name: int, step: int) -> int:
        await turns.enter(name)
        try:
            return await together.ask((name, step))
        finally:
            turns.leave(name)

    asking = [asyncio.create_task(ask(name, step)) for name, step, _ in steps]
    await asyncio.sleep(0)
    names = [name for name, _, _ in steps]
    at_once = {
        names.index(name) for name in [*dict.fromkeys(names)][:2]
    }  # whether they take effect is chance
    left = [number for number, each in enumerate(steps) if each[2] == "leave" and number not in at_once]
    for number in left:
        asking[number].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    values: dict[int, int] = {}
    for number, (name, step, _) in enumerate(steps):
        if number in left:
            assert isinstance(found[number], asyncio.CancelledError)
        elif values.get(name, 0) + step < 20:
            values[name] = values.get(name, 0) + step
            assert found[number] == values[name]
        else:
            assert isinstance(found[number], asyncpg.CheckViolationError)
    async with database.acquire() as connection:
        assert {row["name"]: row["value"] for row in await connection.fetch(ALL)} == values
