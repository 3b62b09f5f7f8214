"""A world whose requests wait for locks keeps no other world waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
import httpx
import pytest

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import Database
from lapel.foundation.database.turns.world_shares import WORLD
from lapel.foundation.ports import Ports
from tests.heartbeats.support import worn
from tests.recordings.support import Device
from tests.support.locks import WAITING, until_waiting
from tests.support.tenants import Tenant, bearer

REQUESTS = 20
HALF = 8
# On a machine that is busy for three seconds, those that wait for their share are answered 503.
OUTCOMES = {200, 503}


@pytest.fixture
async def pool(ports: Ports) -> AsyncGenerator[Database]:
    """One of four connections."""
    database = Database(ports.database.dsn, min_size=0, max_size=4)
    await database.open()
    yield database
    await database.close()


async def hold(pool: Database, world_id: int | None, have: asyncio.Event, end: asyncio.Event) -> None:
    """Hold a connection for a world; `have` is set while it does, until `end` is."""
    WORLD.set(world_id)
    async with pool.acquire():
        have.set()
        await end.wait()


async def test_a_world_has_half_of_the_connections_and_the_others_the_rest(pool: Database) -> None:
    end = asyncio.Event()
    first, second, third, other, nobody = (asyncio.Event() for _ in range(5))
    async with asyncio.TaskGroup() as group:
        for world_id, have in ((1, first), (1, second)):
            group.create_task(hold(pool, world_id, have, end))
            await have.wait()
        group.create_task(hold(pool, 1, third, end))
        for world_id, have in ((2, other), (None, nobody)):
            group.create_task(hold(pool, world_id, have, end))
            await have.wait()
        assert not third.is_set()
        end.set()
        await third.wait()


@pytest.mark.deep
async def test_a_place_that_was_waited_for_in_vain_is_not_lost(pool: Database) -> None:
    end = asyncio.Event()
    have = [asyncio.Event() for _ in range(3)]
    holders = [asyncio.create_task(hold(pool, 1, each, end)) for each in have[:2]]
    await asyncio.gather(*(each.wait() for each in have[:2]))
    cancelled = asyncio.create_task(hold(pool, 1, have[2], end))
    late = asyncio.create_task(hold(pool, 1, have[2], end))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(Unavailable):
        await late
    end.set()
    await asyncio.gather(*holders)
    again = [asyncio.Event() for _ in range(2)]
    hands = asyncio.Event()
    holders = [asyncio.create_task(hold(pool, 1, each, hands)) for each in again]
    await asyncio.gather(*(each.wait() for each in again))
    hands.set()
    await asyncio.gather(*holders)


@pytest.mark.deep
async def test_requests_that_wait_for_a_row_are_503_and_leave_others_their_connections(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant, ports: Ports
) -> None:
    device, other = Device(client, tenant, tenant.headers), Device(client, stranger, stranger.headers)
    recording, theirs = await device.recording(), await other.recording()
    connection = await asyncpg.connect(ports.database.dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM recordings WHERE id = $1 FOR UPDATE", recording)
            path = f"/v1/recordings/{recording}"
            waiting = [
                asyncio.create_task(client.patch(path, json={"name": "x"}, headers=tenant.headers))
                for _ in range(REQUESTS)
            ]
            await half_waits(ports, other, theirs)
            answers = await asyncio.gather(*waiting)
    finally:
        await connection.close()
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


async def half_waits(ports: Ports, other: Device, theirs: str) -> None:
    """Half of the connections wait for a row, and no more, and the other project reads its recording."""
    await until_waiting(ports, HALF)
    await other.read(theirs)
    async with ports.database.acquire() as beside:
        assert await beside.fetchval(WAITING) <= HALF


@pytest.mark.parametrize("body", [{}, {"diagnostics": {"events": [{"event_id": "a" * 16}]}}])
@pytest.mark.parametrize("remembered", [True, False])
async def test_heartbeats_that_wait_for_a_row_leave_others_their_connections(
    client: httpx.AsyncClient,
    tenant: Tenant,
    stranger: Tenant,
    ports: Ports,
    remembered: bool,
    body: dict[str, object],
) -> None:
    device, other = Device(client, tenant, tenant.headers), Device(client, stranger, stranger.headers)
    theirs = await other.recording()
    end_user, beat = await device.end_user(), "/v1/devices/me/heartbeat"
    tokens: list[str] = []
    for number in range(REQUESTS):
        registered = await device.post("/v1/devices", 201, {"serial_number": f"SHARES{number:02d}"})
        bound = await device.post(f"/v1/devices/{registered['id']}/bind", 200, {"end_user_id": end_user})
        tokens.append(bound["device_token"])
        if remembered:
            # By the first one the server knows whose token it is.
            assert (await client.post(beat, json={}, headers=bearer(tokens[-1]))).status_code == 200
    connection = await asyncpg.connect(ports.database.dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM devices FOR UPDATE")
            waiting = [
                asyncio.create_task(client.post(beat, json=body, headers=bearer(token))) for token in tokens
            ]
            await half_waits(ports, other, theirs)
    finally:
        await connection.close()
    assert 200 in {each.status_code for each in await asyncio.gather(*waiting)} <= OUTCOMES


@pytest.mark.parametrize("chunked", [True, False])
async def test_first_uses_of_a_token_that_wait_for_its_device_leave_others_their_connections(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant, ports: Ports, chunked: bool
) -> None:
    device, other = Device(client, tenant, tenant.headers), Device(client, stranger, stranger.headers)
    theirs = await other.recording()
    registered = await device.post("/v1/devices", 201, {"serial_number": "FRESH01"})
    bound = await device.post(
        f"/v1/devices/{registered['id']}/bind", 200, {"end_user_id": await device.end_user()}
    )
    refreshed = await client.post("/v1/devices/me/token/refresh", headers=bearer(bound["device_token"]))
    fresh = bearer(refreshed.json()["device_token"])

    async def use() -> int:
        if chunked:

            async def body() -> AsyncGenerator[bytes]:
                yield b"{}"

            answer = await client.post("/v1/devices/me/heartbeat", content=body(), headers=fresh)
        else:
            answer = await client.get("/v1/devices/me/commands/pending", headers=fresh)
        return answer.status_code

    async with ports.database.transaction() as connection:
        await connection.execute("SELECT FROM devices WHERE id = $1 FOR UPDATE", registered["id"])
        waiting = [asyncio.create_task(use()) for _ in range(REQUESTS)]
        await half_waits(ports, other, theirs)
    assert 200 in set(await asyncio.gather(*waiting)) <= OUTCOMES


@pytest.mark.parametrize("what", ["commands", "events"])
async def test_what_follows_a_heartbeat_leaves_others_their_connections(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant, ports: Ports, what: str
) -> None:
    other = Device(client, stranger, stranger.headers)
    theirs = await other.recording()
    fleet = [await worn(client, ports, tenant, f"FOLLOWS{number:02d}") for number in range(REQUESTS)]
    for each in fleet:
        await each.post("/commands", {"type": "trigger_upload"}, 201)
    async with ports.database.transaction() as connection:
        if what == "commands":  # they are delivered
            await connection.execute("SELECT FROM commands FOR UPDATE")
        else:  # one of them says that the battery is low
            await connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        waiting = [asyncio.create_task(each.send({"battery_percent": 3})) for each in fleet]
        await half_waits(ports, other, theirs)
    assert 200 in {each.status_code for each in await asyncio.gather(*waiting)} <= OUTCOMES
