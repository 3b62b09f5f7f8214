"""Sessions of PgQueuer share connections, and a session that fails takes no other along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
import pytest

from lapel.foundation.queue.queue_connections import QueueConnections
from tests.support.patience import patience
from tests.support.postgres import away

BACKENDS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
PID = "SELECT pg_backend_pid() AS pid"


@pytest.fixture
async def other(fresh_database: str) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of the test's own."""
    opened = await asyncpg.connect(fresh_database)
    yield opened
    await opened.close()


async def _until_backends(other: asyncpg.Connection[asyncpg.Record], expected: int) -> None:
    """Wait until so many connections are left; PostgreSQL takes a moment to end one."""
    async with patience(20):
        while await other.fetchval(BACKENDS) != expected:  # noqa: ASYNC110 - the other side is a database
            await asyncio.sleep(0.01)


async def _heard(words: list[str], other: asyncpg.Connection[asyncpg.Record], word: str) -> None:
    """Notify `word`, and wait until it is among `words`."""
    await other.execute("SELECT pg_notify('news', $1)", word)
    async with patience(20):
        while word not in words:  # noqa: ASYNC110 - the other side is a database
            await asyncio.sleep(0.01)


async def test_sessions_share_a_pool_and_the_connection_that_listens(
    fresh_database: str, other: asyncpg.Connection[asyncpg.Record]
) -> None:
    connections = QueueConnections(fresh_database)
    first: list[str] = []
    second: list[str] = []
    async with connections.session() as one:
        await one.add_listener("news", lambda word: first.append(str(word)))
        async with connections.session() as two:
            await two.add_listener("news", lambda word: second.append(str(word)))
            await one.execute("SELECT 1")
            await two.fetch("SELECT 1")
            assert await other.fetchval(BACKENDS) == 2
            await _heard(first, other, "both")
            await _heard(second, other, "and one")
        await _heard(first, other, "alone")
        assert second == ["both", "and one"], "a session that has ended hears nothing"
    await _until_backends(other, 0)


async def test_after_a_failure_the_next_session_has_new_connections_and_others_keep_theirs(
    fresh_database: str, other: asyncpg.Connection[asyncpg.Record]
) -> None:
    connections = QueueConnections(fresh_database)
    heard: list[str] = []
    async with connections.session() as lasting:
        await lasting.add_listener("news", lambda word: heard.append(str(word)))
        before = await lasting.fetch(PID)
        with pytest.raises(ValueError, match="no listener"):
            async with connections.session():
                raise ValueError("no listener")
        async with connections.session() as fresh:
            assert await fresh.fetch(PID) != before
            await fresh.notify("news", "still there")
            await _heard(heard, other, "and more")
        assert heard == ["still there", "and more"]
        assert await lasting.fetch(PID) == before
        await _until_backends(other, 2)
    await _until_backends(other, 0)


async def test_sessions_that_begin_without_a_database_fail_together() -> None:
    attempts: list[str] = []

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append("attempt")
        await asyncio.sleep(0.05)
        writer.close()

    async def begin(connections: QueueConnections) -> None:
        async with connections.session():
            pytest.fail("there is no database")

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connections = QueueConnections(f"postgresql://lapel@127.0.0.1:{port}/lapel?sslmode=disable")
        found = await asyncio.gather(*(begin(connections) for _ in range(9)), return_exceptions=True)
    assert [isinstance(each, (asyncpg.PostgresConnectionError, OSError)) for each in found] == [True] * 9
    assert len(attempts) == 1


async def test_without_a_database_a_session_does_not_begin_and_a_later_one_does(fresh_database: str) -> None:
    connections = QueueConnections(fresh_database)
    async with away(fresh_database):
        with pytest.raises(asyncpg.PostgresError):
            async with connections.session():
                pytest.fail("there is no database")
    async with connections.session() as driver:
        assert await driver.fetch("SELECT 1 AS one") == [{"one": 1}]
