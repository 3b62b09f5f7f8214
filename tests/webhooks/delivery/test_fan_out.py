"""The fan-out gives each world its share, and waits for no event that another transaction has locked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lapel.foundation.database import outbox
from lapel.foundation.ports import Ports
from lapel.slices.webhooks.delivery import claim_queries
from lapel.slices.webhooks.delivery.fan_out import MOST_DELIVERIES, MOST_EVENTS, FanOut
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import World, world_of

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

FORGET = "DELETE FROM events WHERE world_id = $1"
PLACED = "SELECT count(position)::int AS placed FROM events WHERE world_id = $1"
OF_RESOURCE = "SELECT id, position FROM events WHERE world_id = $1 AND resource_id = $2 ORDER BY position"
HOLD = "SELECT id FROM events WHERE world_id = $1 AND id = $2 FOR UPDATE"
URL = "http://127.0.0.1:9/"


@pytest.fixture
async def others(ports: Ports, stranger: Tenant) -> AsyncGenerator[list[World]]:
    """Two other worlds, whose ids follow."""
    made = world_of(ports, stranger)
    worlds = [replace(made, id=each) for each in sorted((stranger.test_world, stranger.live_world))]
    yield worlds
    for each in worlds:
        await each.execute(FORGET, each.id)


async def placed(world: World) -> int:
    (row,) = await world.fetch(PLACED, world.id)
    return row["placed"]


async def place_all(world: World) -> FanOut:
    """Place what other tests left behind, so that the next batch has only this test's events."""
    fan_out = FanOut(world.ports)
    while await fan_out.place_some():
        pass
    return fan_out


async def test_a_burst_of_one_world_delays_no_other_world(world: World, others: list[World]) -> None:
    other = others[0]
    fan_out = await place_all(world)
    await world.webhooks(URL, 300)
    await other.webhook(URL)
    for _ in range(50):
        await world.publish()
    await other.publish()
    await fan_out.place_some()
    assert await placed(other) == 1
    # The batch is full: what the other world does not need is the burst's.
    assert await placed(world) == (MOST_DELIVERIES - 1) // 300
    assert len(await other.deliveries()) == 1


@pytest.mark.deep
async def test_worlds_that_do_not_fit_into_a_batch_come_first_in_the_next(
    world: World, others: list[World]
) -> None:
    worlds = [world, *others]
    fan_out = await place_all(world)
    for each in worlds:
        await each.webhooks(URL, MOST_DELIVERIES // 2)
        for _ in range(3):
            await each.publish()
    await fan_out.place_some()
    assert [await placed(each) for each in worlds] == [1, 1, 0]
    await fan_out.place_some()
    assert [await placed(each) for each in worlds] == [1, 1, 2]
    await fan_out.place_some()
    assert [await placed(each) for each in worlds] == [2, 2, 2]


@pytest.mark.deep
async def test_an_event_with_more_webhooks_than_a_batch_has_deliveries_is_placed_alone(world: World) -> None:
    fan_out = await place_all(world)
    await world.webhooks(URL, MOST_DELIVERIES + 1)
    for _ in range(2):
        await world.publish()
    assert await fan_out.place_some() == 1
    assert len(await world.deliveries()) == MOST_DELIVERIES + 1


async def test_webhooks_that_do_not_want_an_event_take_no_share(world: World) -> None:
    fan_out = await place_all(world)
    await world.webhooks(URL, 300)
    await world.execute("UPDATE webhooks SET events = '{device.offline}' WHERE world_id = $1", world.id)
    one = await world.webhook(URL, "device.offline", "device.bound")
    test = await world.webhook(URL, "device.low_battery")
    for _ in range(50):
        await world.publish()
    await world.publish(test_for=test.id)
    assert await fan_out.place_some() == 51
    assert [row["webhook_id"] for row in await world.deliveries()] == [one.id] * 50 + [test.id]


async def test_an_erasure_under_way_stops_no_fan_out(world: World, others: list[World]) -> None:
    other = others[0]
    fan_out = await place_all(world)
    await world.publish("dev_erased")
    await world.publish("dev_kept")
    await other.publish()
    async with world.ports.database.transaction() as connection:
        await outbox.erase(connection, world.id, ["dev_erased"])
        assert await fan_out.place_some() == 2
    assert (await placed(world), await placed(other)) == (1, 1)
    assert await fan_out.place_some() == 0


async def test_an_erasure_during_a_fan_out_is_no_deadlock(world: World) -> None:
    fan_out = await place_all(world)
    await world.publish("dev_a")
    await world.publish("dev_b")
    async with world.ports.database.transaction() as connection:
        await outbox.erase(connection, world.id, ["dev_b"])
        assert await fan_out.place_some() == 1
        await outbox.erase(connection, world.id, ["dev_a"])


async def test_a_locked_event_holds_up_no_other_resource(world: World) -> None:
    """More events wait behind the locked one than a transaction places."""
    fan_out = await place_all(world)
    first = await world.publish("dev_busy")
    await world.publish_many("dev_busy", MOST_EVENTS)
    await world.publish("dev_2")
    async with world.ports.database.transaction() as connection:
        await connection.execute(HOLD, world.id, first)
        assert await fan_out.place_some() == 1
        assert await placed(world) == 1
        assert await fan_out.place_some() == 0
    while await fan_out.place_some():
        pass
    of_resource = await world.fetch(OF_RESOURCE, world.id, "dev_busy")
    assert [row["position"] for row in of_resource] == list(range(2, MOST_EVENTS + 3))
    assert [row["id"] for row in of_resource] == sorted(row["id"] for row in of_resource)


@pytest.mark.deep
async def test_a_locked_event_holds_up_no_other_resource_while_other_worlds_are_busy(
    world: World, others: list[World]
) -> None:
    fan_out = await place_all(world)
    first = await world.publish("dev_busy")
    await world.publish_many("dev_busy", MOST_EVENTS)
    await world.publish("dev_2")
    await others[0].publish_many("dev_3", 3 * MOST_EVENTS)
    async with world.ports.database.transaction() as connection:
        await connection.execute(HOLD, world.id, first)
        assert await fan_out.place_some() > 1
        assert await placed(world) == 1
        assert await placed(others[0]) < 3 * MOST_EVENTS
    while await fan_out.place_some():
        pass


async def test_an_erasure_that_is_taken_back_leaves_the_order_of_its_resource(world: World) -> None:
    """It had locked the first event of a resource, and a fan-out came before the end of its transaction."""
    fan_out = await place_all(world)
    first = await world.publish("dev_1")
    async with world.ports.database.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await outbox.erase(connection, world.id, ["dev_1"])
        second = await world.publish("dev_1")
        await world.publish("dev_2")
        assert await fan_out.place_some() == 1
        await transaction.rollback()
    assert await fan_out.place_some() == 2
    of_resource = await world.fetch(OF_RESOURCE, world.id, "dev_1")
    assert [(row["id"], row["position"]) for row in of_resource] == [(first, 2), (second, 3)]


async def test_a_fan_out_that_began_before_another_makes_later_deliveries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop of its worker was busy between BEGIN and the lock, while another worker placed an event."""
    other = await place_all(world)
    webhook = await world.webhook(URL)
    lock, began, go_on = outbox.lock_positions, asyncio.Event(), asyncio.Event()

    async def lock_late(connection: Connection) -> bool:
        if not began.is_set():
            began.set()
            await go_on.wait()
        return await lock(connection)

    monkeypatch.setattr(outbox, "lock_positions", lock_late)
    late = asyncio.create_task(FanOut(world.ports).place_some())
    await began.wait()
    events = [await world.publish("dev_1")]
    assert await other.place_some() == 1
    events.append(await world.publish("dev_1"))
    go_on.set()
    assert await late == 1
    first, second = await world.deliveries()
    assert [first["event_id"], second["event_id"]] == events
    assert first["due_at"] < second["due_at"]
    rooms = [(world.id, webhook.id, 10)]
    begin = {(world.id, webhook.id): min(first["due_at"], second["due_at"])}
    async with world.ports.database.acquire() as connection:
        claims = [await claim_queries.claim(connection, rooms, begin) for _ in range(2)]
    assert [[row.event_id for row in claim] for claim in claims] == [[events[0]], []]
