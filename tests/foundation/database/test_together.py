"""Callers who ask at the same time share a statement, and nothing else: no error, no delay, no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
import pytest

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import ConnectionBroken, Database
from lapel.foundation.database.together import Together
from lapel.foundation.database.turns.world_shares import WORLD
from tests.support.patience import patience, settle
from tests.support.postgres import END_OTHERS

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

DOUBLED = """
SELECT asked.number * 2, 1 / (asked.number - 13)
FROM unnest($1::int[]) WITH ORDINALITY AS asked (number, place) ORDER BY asked.place
"""


@dataclass
class Doubling:
    """Doubles numbers; 13 is an error of the database. Only as many statements end as `ends` was released."""

    ends: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    begun: list[list[int]] = field(default_factory=list[list[int]])
    tasks: list[object] = field(default_factory=list[object])
    under_way: int = 0
    most: int = 0

    async def __call__(self, connection: Connection, asked: Sequence[int]) -> list[int]:
        self.begun.append(list(asked))
        self.tasks.append(asyncio.current_task())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.ends.acquire()
            return [row[0] for row in await connection.fetch(DOUBLED, asked)]
        finally:
            self.under_way -= 1


@pytest.fixture
def doubling() -> Doubling:
    return Doubling()


def release(doubling: Doubling, count: int = 1000) -> None:
    """Let so many statements end."""
    for _ in range(count):
        doubling.ends.release()


async def until(doubling: Doubling, count: int) -> None:
    """Wait for so many statements."""
    async with patience(10):
        while len(doubling.begun) < count:  # noqa: ASYNC110 - each number would need an event
            await asyncio.sleep(0.001)


async def apart(together: Together[int, int], doubling: Doubling, *numbers: int) -> list[asyncio.Task[int]]:
    """Ask one after the other, so that each caller has a statement of its own."""
    asking: list[asyncio.Task[int]] = []
    for number in numbers:
        asking.append(asyncio.create_task(together.ask(number)))
        await until(doubling, len(asking))
    return asking


async def test_a_single_caller_waits_for_nobody(database: Database, doubling: Doubling) -> None:
    release(doubling)
    together = Together(database, doubling)
    assert [await together.ask(number) for number in (1, 2, 3)] == [2, 4, 6]
    assert doubling.begun == [[1], [2], [3]]
    assert doubling.tasks == [asyncio.current_task()] * 3, "it asks in its own task"


async def test_a_single_caller_who_goes_away_takes_nobody_along(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling)
    asking = await apart(together, doubling, 1, 2)
    asking += [asyncio.create_task(together.ask(number)) for number in (3, 4)]
    await settle()
    asking[0].cancel()
    await until(doubling, 3)
    release(doubling)
    assert await asyncio.gather(*asking[1:]) == [4, 6, 8]
    assert doubling.begun[2:] == [[3, 4]]
    assert asking[0].cancelled()
    assert await together.ask(1) == 2


async def test_the_first_caller_may_go_away_before_its_statement_begins(
    database: Database, doubling: Doubling
) -> None:
    release(doubling)
    together = Together(database, doubling)
    asking = [asyncio.create_task(together.ask(number)) for number in (1, 2, 11)]
    await asyncio.sleep(0)
    asking[0].cancel()
    assert await asyncio.gather(*asking[1:]) == [4, 22]
    assert doubling.begun == [[2, 11]]
    assert asking[0].cancelled()


async def test_the_first_of_several_callers_may_go_away_while_its_statement_is_under_way(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling)
    asking = [asyncio.create_task(together.ask(number)) for number in (1, 2)]
    await until(doubling, 1)
    asking[0].cancel()
    release(doubling)
    assert await asking[1] == 4
    assert doubling.begun == [[1, 2]]


async def test_an_error_of_a_single_caller_is_its_own(database: Database, doubling: Doubling) -> None:
    release(doubling)
    together = Together(database, doubling)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await together.ask(13)
    assert await together.ask(14) == 28
    with pytest.raises(asyncpg.DivisionByZeroError):
        await together.ask(13)
    assert doubling.begun == [[13], [14], [13]], "it asks once"


async def test_those_who_come_meanwhile_share_the_next_statement(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling)
    asking = await apart(together, doubling, 0, 1)
    asking += [asyncio.create_task(together.ask(number)) for number in range(2, 10)]
    await settle()
    assert doubling.begun == [[0], [1]], "two are under way at most"
    release(doubling)
    assert await asyncio.gather(*asking) == [number * 2 for number in range(10)]
    assert doubling.begun[2:] == [list(range(2, 10))]
    assert doubling.most == 2


async def test_one_at_a_time_those_who_came_during_a_statement_share_the_next_two(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling, under_way=1)
    asking = await apart(together, doubling, 0)
    asking += [asyncio.create_task(together.ask(number)) for number in range(1, 5)]
    await settle()
    assert doubling.begun == [[0]]
    release(doubling)
    assert await asyncio.gather(*asking) == [0, 2, 4, 6, 8]
    assert doubling.begun == [[0], [1, 2, 3], [4]]
    assert doubling.most == 1


async def test_one_at_a_time_each_statement_soon_has_half_of_those_who_ask_again(
    database: Database, doubling: Doubling
) -> None:
    """Else a statement for one caller and a statement for all others would take turns."""
    together = Together(database, doubling, under_way=1)

    async def ask_again(number: int) -> None:
        while len(doubling.begun) < 8:
            await together.ask(number)

    async with asyncio.TaskGroup() as asking:
        asking.create_task(ask_again(0))
        await until(doubling, 1)
        for number in range(101, 132):
            asking.create_task(ask_again(number))
        await settle()
        release(doubling)
    assert [len(each) for each in doubling.begun[:8]] == [1, 16, 16, 16, 16, 16, 16, 16]


async def test_one_at_a_time_the_answers_of_a_statement_are_sent_before_the_next_one_begins(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling, under_way=1)
    statements_then: list[int] = []

    async def answer(number: int) -> None:
        await together.ask(number)
        # As the listener sends answers: at the end of the turn in which they are made.
        asyncio.get_running_loop().call_soon(lambda: statements_then.append(len(doubling.begun)))

    async with asyncio.TaskGroup() as asking:
        for number in (1, 2):
            asking.create_task(answer(number))
        await until(doubling, 1)
        for number in (3, 4):
            asking.create_task(answer(number))
        await settle()
        release(doubling)
    assert doubling.begun == [[1, 2], [3, 4]]
    assert statements_then == [1, 1, 2, 2]


async def test_who_waits_behind_a_statement_that_hangs_needs_no_later_caller(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling, under_way=1)
    asking = await apart(together, doubling, 0)
    asking.append(asyncio.create_task(together.ask(1)))
    await until(doubling, 2)
    assert doubling.begun == [[0], [1]]
    release(doubling)
    assert await asyncio.gather(*asking) == [0, 2]


async def test_who_waits_beside_a_second_statement_that_hangs_needs_no_later_caller(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling, under_way=1)
    asking = await apart(together, doubling, 0)
    asking += [asyncio.create_task(together.ask(number)) for number in range(1, 5)]
    await until(doubling, 2)
    release(doubling, 1)
    await asking[0]
    await until(doubling, 3)
    assert doubling.begun == [[0], [1, 2, 3], [4]]
    release(doubling)
    assert await asyncio.gather(*asking) == [0, 2, 4, 6, 8]


async def test_those_who_come_in_one_turn_of_the_loop_share_the_first_statement(
    database: Database, doubling: Doubling
) -> None:
    release(doubling)
    together = Together(database, doubling)
    assert await asyncio.gather(*map(together.ask, range(5))) == [0, 2, 4, 6, 8]
    assert doubling.begun == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("most", [None, 32])
async def test_a_statement_has_a_bounded_number_of_callers(
    database: Database, doubling: Doubling, most: int | None
) -> None:
    release(doubling)
    together = Together(database, doubling, most=most) if most else Together(database, doubling)
    numbers = [*range(20, 1020)]
    assert await asyncio.gather(*map(together.ask, numbers)) == [number * 2 for number in numbers]
    assert max(map(len, doubling.begun)) == (most or 128)


@pytest.mark.parametrize("when", ["in line", "under way"])
async def test_a_caller_who_goes_away_takes_nobody_along(
    database: Database, doubling: Doubling, when: str
) -> None:
    together = Together(database, doubling)
    first = await apart(together, doubling, 1, 2)
    asking = [asyncio.create_task(together.ask(number)) for number in (3, 4, 5)]
    await settle()
    if when == "in line":
        asking[1].cancel()
    release(doubling, 2)
    await asyncio.gather(*first)
    if when == "under way":
        await until(doubling, 3)
        asking[1].cancel()
    release(doubling)
    assert await asyncio.gather(asking[0], asking[2]) == [6, 10]
    with pytest.raises(asyncio.CancelledError):
        await asking[1]
    assert await together.ask(4) == 8


async def test_an_error_reaches_only_the_caller_who_causes_it(database: Database, doubling: Doubling) -> None:
    together = Together(database, doubling)
    asking = await apart(together, doubling, 1, 2)
    asking += [asyncio.create_task(together.ask(number)) for number in (3, 13, 4, 2**40, 5)]
    await settle()
    release(doubling)
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [each for each in found if isinstance(each, int)] == [2, 4, 6, 8, 10]
    assert isinstance(found[3], asyncpg.DivisionByZeroError)
    assert isinstance(found[5], asyncpg.DataError)


async def test_while_the_database_is_away_each_caller_gets_an_error_of_its_own(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling)
    asking = await apart(together, doubling, 0, 1)
    asking += [asyncio.create_task(together.ask(number)) for number in range(2, 6)]
    await settle()
    await database.close()
    release(doubling)
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in found), found
    assert len(set(map(id, found))) == 6
    assert len(doubling.begun) == 2, "nobody asks alone what all were refused"
    await database.open()
    assert await together.ask(7) == 14


async def test_a_broken_connection_is_told_as_one(database: Database, doubling: Doubling) -> None:
    together = Together(database, doubling)
    asking = await apart(together, doubling, 0, 1)
    waiting = [asyncio.create_task(together.ask(number)) for number in range(2, 5)]
    connection = await asyncpg.connect(database.dsn)
    await connection.execute(END_OTHERS)
    await connection.close()
    release(doubling)
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in found] == [ConnectionBroken] * 2
    assert await asyncio.gather(*waiting) == [4, 6, 8]


async def test_a_caller_waits_in_line_only_so_long(database: Database, doubling: Doubling) -> None:
    together = Together(database, doubling, patience=0.05)
    asking = await apart(together, doubling, 0, 1)
    late = [asyncio.create_task(together.ask(number)) for number in (2, 3, 4)]
    found = await asyncio.gather(*late, return_exceptions=True)
    assert all(isinstance(each, Unavailable) for each in found), found
    release(doubling)
    assert await asyncio.gather(*asking) == [0, 2]
    assert await together.ask(6) == 12
    assert doubling.begun[2:] == [[6]]


async def test_after_an_error_no_caller_waits_for_many_slow_statements(database: Database) -> None:
    """Such as while another transaction locks the table: each statement fails after seconds."""

    async def lock(_: Connection, asked: Sequence[int]) -> list[int]:
        begun.append(list(asked))
        await asyncio.sleep(0.1)
        raise asyncpg.LockNotAvailableError

    begun: list[list[int]] = []
    together = Together(database, lock, patience=0.05)
    found = await asyncio.gather(*map(together.ask, range(20)), return_exceptions=True)
    assert isinstance(found[0], asyncpg.LockNotAvailableError)
    assert all(isinstance(each, Unavailable) for each in found[1:]), found
    assert begun == [list(range(20)), [0]]


async def test_no_world_waits_behind_the_many_callers_of_another(
    database: Database, doubling: Doubling
) -> None:
    together = Together(database, doubling)

    async def ask(world_id: int, number: int) -> int:
        WORLD.set(world_id)
        return await together.ask(number)

    asking = [asyncio.create_task(ask(1, number)) for number in range(20, 420)]
    await until(doubling, 2)
    asking += [asyncio.create_task(ask(2, number)) for number in (1001, 1002)]
    await settle()
    release(doubling)
    await asyncio.gather(*asking)
    assert {1001, 1002} <= set(doubling.begun[2])


async def test_it_counts_for_no_world(database: Database, doubling: Doubling) -> None:
    """Else the questions of a world that holds its share of connections would keep all others waiting."""
    release(doubling)
    together = Together(database, doubling)
    WORLD.set(1)
    async with database.acquire(), database.acquire(), patience(10):
        assert await asyncio.gather(*map(together.ask, range(4))) == [0, 2, 4, 6]
