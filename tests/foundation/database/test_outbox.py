"""Events get positions after their commit, in the order of their resource, without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lapel.foundation.database import listening, outbox
from lapel.foundation.ports import Ports
from tests.events.writing import place
from tests.support.patience import patience
from tests.support.tenants import Tenant

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

READ = "SELECT id, position FROM events WHERE world_id = $1 ORDER BY position"


@pytest.fixture(autouse=True)
async def _no_event_stays(ports: Ports) -> AsyncGenerator[None]:
    """The shared server's events are compared with the contract at the end, which knows no toys."""
    yield
    async with ports.database.acquire() as connection:
        await connection.execute("DELETE FROM events WHERE type = 'toy.made'")


async def write(ports: Ports, connection: Connection, world_id: int, name: str, later: int = 0) -> str:
    """An event of the resource `toy_1`. `later`: the seconds by which the writer's clock is ahead."""
    return await outbox.publish(
        connection,
        ports.ids,
        ports.clock.now() + timedelta(seconds=later),
        world_id=world_id,
        type="toy.made",
        resource_id="toy_1",
        data=b"{}",
        dedupe=name,
    )


async def positions(ports: Ports, world_id: int) -> list[tuple[str, int]]:
    async with ports.database.acquire() as connection:
        return [(row["id"], row["position"]) for row in await connection.fetch(READ, world_id)]


async def test_positions_follow_the_insertion_and_not_the_clocks(ports: Ports, tenant: Tenant) -> None:
    made: list[str] = []
    for number, ahead in enumerate((120, 0, 60)):
        async with ports.database.transaction() as connection:
            made.append(await write(ports, connection, tenant.test_world, f"{number}", ahead))
    await place(ports, limit=2)
    assert await positions(ports, tenant.test_world) == [(each, n) for n, each in enumerate(made, 1)]


async def test_each_world_counts_for_itself(ports: Ports, tenant: Tenant, stranger: Tenant) -> None:
    for number in range(3):
        for world in (tenant.test_world, tenant.live_world, stranger.test_world):
            async with ports.database.transaction() as connection:
                await write(ports, connection, world, f"{number}")
    await place(ports, limit=4)
    for world in (tenant.test_world, tenant.live_world, stranger.test_world):
        assert [position for _, position in await positions(ports, world)] == [1, 2, 3]


async def test_an_event_that_commits_late_gets_a_later_position(ports: Ports, tenant: Tenant) -> None:
    world = tenant.test_world
    async with ports.database.transaction() as slow:
        late = await write(ports, slow, world, "late")
        async with ports.database.transaction() as connection:
            early = await write(ports, connection, world, "early")
        await place(ports)
        assert await positions(ports, world) == [(early, 1)]
    await place(ports)
    assert await positions(ports, world) == [(early, 1), (late, 2)]


async def test_one_transaction_at_a_time_gives_positions(ports: Ports) -> None:
    async with ports.database.transaction() as first:
        assert await outbox.lock_positions(first)
        async with ports.database.transaction() as second:
            assert not await outbox.lock_positions(second)
    async with ports.database.transaction() as third:
        assert await outbox.lock_positions(third)


async def test_a_repeat_of_an_event_is_dropped_and_takes_no_position(ports: Ports, tenant: Tenant) -> None:
    for _ in range(2):
        async with ports.database.transaction() as connection:
            await write(ports, connection, tenant.test_world, "same")
    await place(ports)
    assert [position for _, position in await positions(ports, tenant.test_world)] == [1]


async def test_a_commit_notifies_and_a_position_too(ports: Ports, tenant: Tenant) -> None:
    heard: list[tuple[str, str]] = []
    news = asyncio.Event()

    async def hear(channel: str) -> None:
        def told(payload: str) -> None:
            heard.append((channel, payload))
            news.set()

        await listening.listen(ports.database.dsn, channel, told)

    tasks = [asyncio.create_task(hear(each)) for each in (outbox.EVENTS_CHANNEL, outbox.POSITIONS_CHANNEL)]

    async def until(expected: tuple[str, str]) -> None:
        async with patience(20):
            while expected not in heard:
                news.clear()
                await news.wait()

    try:
        await until((outbox.POSITIONS_CHANNEL, ""))
        await until((outbox.EVENTS_CHANNEL, ""))
        heard.clear()
        async with ports.database.transaction() as connection:
            await write(ports, connection, tenant.test_world, "one")
        await until((outbox.EVENTS_CHANNEL, ""))
        await place(ports)
        await until((outbox.POSITIONS_CHANNEL, str(tenant.test_world)))
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
