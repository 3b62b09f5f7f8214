"""Connections: lent in order, kept when clean, replaced when not, and an error of ours when there is none."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

import asyncpg
import pytest
import pytest_asyncio

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import ConnectionBroken, Database
from lapel.foundation.database.turns.fair_semaphore import FairSemaphore

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

PID = "SELECT pg_backend_pid()"
BYTEA_ARRAY, JSONB_ARRAY = 1001, 3807
# A Python that starts anew: no other server of this process may ask. Which types does each of three pools ask
# for?
ASKS = """
import asyncio, json, sys
import asyncpg
from lapel.foundation.database.pool import Database

ask = asyncpg.Connection._introspect_types
asked = []

async def asks(connection, oids, timeout):
    asked.append(sorted(oids))
    return await ask(connection, oids, timeout)

async def main():
    for _ in range(3):
        opened = Database(sys.argv[1], min_size=0)
        await opened.open()
        async with opened.acquire() as connection:
            row = await connection.fetchrow(
                "SELECT $1::text[], $2::jsonb[], $3::bytea[], $4::jobs.pgqueuer_status[], $5::int4range",
                ["a"], ['{"b": 1}'], [b"c"], ["queued"], asyncpg.Range(1, 2),
            )
            assert list(row) == [["a"], ['{"b": 1}'], [b"c"], ["queued"], asyncpg.Range(1, 2)], row
            assert await connection.fetchval("SELECT $1::bytea[]", [b"d"]) == [b"d"]
        await opened.close()

asyncpg.Connection._introspect_types = asks
asyncio.run(main())
print(json.dumps(asked))
"""


@pytest_asyncio.fixture
async def database(fresh_database: str) -> AsyncGenerator[Database]:
    made = Database(fresh_database, min_size=0, max_size=2)
    await made.open()
    yield made
    await made.close()


async def _pid(connection: Connection) -> int:
    return await connection.fetchval(PID)


async def test_a_clean_connection_is_lent_again(database: Database) -> None:
    pids: set[int] = set()
    for _ in range(3):
        async with database.acquire() as connection:
            pids.add(await _pid(connection))
    assert len(pids) == 1


async def test_no_more_than_allowed_are_lent_at_once(database: Database) -> None:
    inside = 0
    most = 0

    async def use() -> None:
        nonlocal inside, most
        async with database.acquire() as connection:
            inside += 1
            most = max(most, inside)
            await connection.execute("SELECT pg_sleep(0.005)")
            inside -= 1

    await asyncio.gather(*(use() for _ in range(20)))
    assert most == 2


async def test_an_open_transaction_is_not_handed_on(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute("CREATE TABLE left_open (a int)")
    loop = asyncio.get_running_loop()
    reported: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        async with database.acquire() as connection:
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO left_open VALUES (1)")
    finally:
        loop.set_exception_handler(None)
    assert reported, "asyncpg tells of it"
    async with database.acquire() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT count(*) FROM left_open") == 0


async def test_a_refusal_inside_a_transaction_rolls_back_and_the_next_works(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute("CREATE TABLE refused (a int PRIMARY KEY)")

    async def refused() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO refused VALUES (1)")
            await connection.execute("INSERT INTO refused VALUES (1)")

    with pytest.raises(asyncpg.UniqueViolationError):
        await refused()
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM refused") == 0


async def test_a_connection_that_dies_while_lent_is_unavailable_and_replaced(database: Database) -> None:
    with pytest.raises(Unavailable):
        async with database.acquire() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_connection_that_dies_at_hand_is_replaced(database: Database, fresh_database: str) -> None:
    async with database.acquire() as connection:
        dead = await _pid(connection)
    other = await asyncpg.connect(fresh_database)
    await other.execute("SELECT pg_terminate_backend($1)", dead)
    while await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", dead):
        pass
    await other.close()
    await asyncio.sleep(0.05)  # the end of the connection is read by the event loop
    for _ in range(3):
        async with database.acquire() as connection:
            assert await _pid(connection) != dead


async def test_a_connection_on_which_a_write_is_refused_is_not_lent_again(database: Database) -> None:
    """As one to a server that has become a standby; the server itself stays as it is here."""
    async with database.acquire() as connection:
        await connection.execute("CREATE TABLE written (a int)")
        await connection.execute("SET default_transaction_read_only = on")
        refused = await _pid(connection)
    with pytest.raises(ConnectionBroken):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO written VALUES (1)")
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO written VALUES (1)")
        assert await _pid(connection) != refused


async def test_a_cancelled_query_leaves_no_trace(database: Database) -> None:
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), database.acquire() as connection:
                await connection.execute("SELECT pg_sleep(5)")
        async with database.acquire() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def _too_large(connection: Connection) -> None:
    await connection.fetchval("SELECT $1::int", 2**40)


async def _cancelled_when_prepared(connection: Connection) -> None:
    await connection.prepare("SELECT $1::int")
    raise asyncio.CancelledError


@pytest.mark.parametrize("use", [_too_large, _cancelled_when_prepared])
async def test_a_statement_that_was_not_executed_does_not_stay_open(
    database: Database, fresh_database: str, use: Callable[[Connection], Awaitable[None]]
) -> None:
    """PostgreSQL counts a statement that was only prepared as running, and ends it when its time is over."""
    async with database.acquire() as connection:
        pid = await _pid(connection)
    with pytest.raises((asyncpg.DataError, asyncio.CancelledError)):
        async with database.acquire() as connection:
            await use(connection)
    other = await asyncpg.connect(fresh_database)
    assert await other.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid) == "idle"
    await other.close()
    async with database.acquire() as connection:
        assert await _pid(connection) == pid


async def test_unused_connections_are_given_up(fresh_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lapel.foundation.database.pool.IDLE_SECONDS", 0.02)
    database = Database(fresh_database, min_size=0, max_size=2)
    await database.open()
    async with database.acquire() as first, database.acquire() as second:
        pids = {await _pid(first), await _pid(second)}
    assert len(pids) == 2
    watching = await asyncpg.connect(fresh_database)
    alive = pids
    while len(alive) == 2:  # the one that is used last is always at hand; the other one ages
        await asyncio.sleep(0.03)
        async with database.acquire() as connection:
            await _pid(connection)
        rows = await watching.fetch("SELECT pid FROM pg_stat_activity WHERE pid = ANY($1)", list(pids))
        alive = {row["pid"] for row in rows}
    await watching.close()
    await database.close()


async def test_closing_waits_for_what_is_lent(fresh_database: str) -> None:
    database = Database(fresh_database, min_size=0, max_size=2)
    await database.open()
    lent, closing = asyncio.Event(), asyncio.Event()

    async def use() -> int:
        async with database.acquire() as connection:
            lent.set()
            await closing.wait()
            return await connection.fetchval("SELECT 7 FROM pg_sleep(0.05)")

    using = asyncio.create_task(use())
    await lent.wait()
    closed = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    closing.set()
    assert await using == 7
    await closed
    with pytest.raises(Unavailable):
        database.acquire()


async def test_a_database_that_is_not_there_is_unavailable(fresh_database: str) -> None:
    database = Database(fresh_database + "_not_there", min_size=0, max_size=2)
    await database.open()
    for _ in range(3):  # and the places are not used up by it
        with pytest.raises(ConnectionBroken):
            async with database.acquire():
                pytest.fail("there is no such database")
    await database.close()


def _entering(semaphore: FairSemaphore, order: list[int]) -> Callable[[int], asyncio.Task[None]]:
    async def enter(number: int) -> None:
        await semaphore.enter()
        order.append(number)

    return lambda number: asyncio.create_task(enter(number))


async def test_places_are_given_in_the_order_of_asking() -> None:
    semaphore, order = FairSemaphore(1, patience=60), list[int]()
    enter = _entering(semaphore, order)
    await semaphore.enter()
    tasks = [enter(number) for number in range(5)]
    await asyncio.sleep(0)
    for number in range(5):
        semaphore.leave()
        late = enter(10 + number)  # comes just as the place gets free, and still is the last
        await asyncio.sleep(0)
        tasks.append(late)
        await asyncio.sleep(0)
    assert order == [0, 1, 2, 3, 4]
    for _ in range(5):
        semaphore.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


async def test_patience_ends_and_takes_no_place() -> None:
    semaphore = FairSemaphore(1, patience=0.02)
    await semaphore.enter()
    waiting = [asyncio.create_task(semaphore.enter()) for _ in range(3)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in results] == [TimeoutError] * 3
    semaphore.leave()
    await semaphore.enter()


async def test_whoever_gives_up_waiting_takes_no_place() -> None:
    semaphore = FairSemaphore(1, patience=60)
    await semaphore.enter()
    before, at_once, after = (asyncio.create_task(semaphore.enter()) for _ in range(3))
    await asyncio.sleep(0)
    before.cancel()
    await asyncio.sleep(0)
    semaphore.leave()  # the place is given to `at_once`, which is cancelled before it hears of it
    at_once.cancel()
    await asyncio.gather(before, at_once, return_exceptions=True)
    assert at_once.cancelled()
    await asyncio.wait_for(after, 5)
    semaphore.leave()
    await asyncio.wait_for(semaphore.enter(), 5)


def test_a_process_asks_once_for_the_arrays_of_postgresql(fresh_database: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASKS, fresh_database], capture_output=True, text=True, check=True, timeout=60
    )
    first, *later = json.loads(done.stdout)
    # The enum is of this database alone.
    assert {BYTEA_ARRAY, JSONB_ARRAY} < set(first)
    assert later == [sorted({*first} - {JSONB_ARRAY, BYTEA_ARRAY})] * 2
