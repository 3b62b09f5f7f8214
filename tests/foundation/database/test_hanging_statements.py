"""Callers who share statements beside one that hangs, as on a connection that nobody has closed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lapel.foundation.database.pool import Database
from lapel.foundation.database.together import Together
from tests.support.patience import patience

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


async def test_beside_a_statement_that_hangs_the_others_follow_one_another_at_once(
    fresh_database: str,
) -> None:
    """Two are under way at most."""
    ends, under_way, most = asyncio.Event(), 0, 0

    async def statement(_: Connection, asked: Sequence[int]) -> list[int]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if 13 in asked:
            await ends.wait()
        await asyncio.sleep(0)
        under_way -= 1
        return [number * 2 for number in asked]

    database = Database(fresh_database, min_size=0, max_size=4)
    await database.open()
    together = Together(database, statement, under_way=1)
    hanging = asyncio.create_task(together.ask(13))
    await asyncio.sleep(0.3)
    async with patience(10):
        for number in range(20, 220):  # they would take 50 seconds if each waited for a slow one
            both = await asyncio.gather(together.ask(number), together.ask(-number))
            assert both == [number * 2, number * -2]
    ends.set()
    assert await hanging == 26
    assert most == 2
    await database.close()
