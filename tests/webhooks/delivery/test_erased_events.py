"""A deletion erases events at once, and leaves their many deliveries to a worker."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from lapel.foundation.database import outbox
from lapel.foundation.ports import Ports
from lapel.slices.events.queries import read_stream, size
from lapel.slices.events.wire import Event
from lapel.slices.webhooks import queries
from lapel.slices.webhooks.delivery import claim_queries
from lapel.slices.webhooks.delivery.fan_out import FanOut
from lapel.slices.webhooks.records import erased_events
from lapel.slices.webhooks.records.erased_events import ErasedEvents
from tests.recordings.support import Device
from tests.support.patience import patience
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import OK, Received, Receiver, World, delivering, until, world_of

WEBHOOKS = 3
OF_RESOURCE = "SELECT body FROM events WHERE world_id = $1 AND resource_id = $2 ORDER BY id"
ROWS = """
SELECT (SELECT count(*) FROM events WHERE world_id = $1 AND erased) AS events,
    (SELECT count(*) FROM webhook_deliveries WHERE world_id = $1) AS deliveries
"""


@pytest.fixture
def operator(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """The tenant's secret key."""
    return Device(client, tenant, tenant.headers)


async def place_all(world: World) -> None:
    fan_out = FanOut(world.ports)
    while await fan_out.place_some():
        pass


async def rows(world: World) -> tuple[int, int]:
    """How many rows there are of erased events, and of deliveries."""
    (row,) = await world.fetch(ROWS, world.id)
    return row["events"], row["deliveries"]


def event_of(row: dict[str, Any]) -> Event:
    """The event as a server shows it that knows of no erased events, such as one before an upgrade."""
    return msgspec.json.decode(row["body"], type=Event)


async def a_device(operator: Device) -> str:
    """A device with two events, that may be deleted."""
    person = await operator.end_user()
    facts = {"serial_number": "ERASED01", "model": "pendant"}
    device: str = (await operator.post("/v1/devices", 201, facts))["id"]
    await operator.post(f"/v1/devices/{device}/bind", 200, {"end_user_id": person})
    await operator.post(f"/v1/devices/{device}/unbind", 200)
    return device


async def answers(world: World, operator: Device, events: list[str]) -> set[Any]:
    """What every answer gives of these events and their deliveries."""
    found: set[Any] = set()
    for query in ("", "&types=device.*", "&types=device.bound&created_after=2020-01-01T00:00:00.000Z"):
        page = await operator.call("GET", f"/v1/events?limit=100{query}", 200)
        found |= {each["id"] for each in page["data"]} & set(events)
    for webhook in await world.fetch("SELECT id FROM webhooks WHERE world_id = $1", world.id):
        page = await operator.call("GET", f"/v1/webhooks/{webhook['id']}/deliveries?limit=100", 200)
        found |= {each["event_id"] for each in page["data"]} & set(events)
    async with world.ports.database.acquire() as connection:
        found |= {row.body for row in await read_stream(connection, world.id, 0, None, 1000, 2**20)} - {None}
        for event in events:
            found |= {
                await size(connection, world.id, event),
                await queries.find_placed(connection, world.id, event),
            }
        for row in await world.deliveries():
            found.add(await claim_queries.read_body(connection, world.id, row["id"]))
    return found - {0, None}


async def test_a_deletion_deletes_no_deliveries_itself(
    world: World, operator: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erased_events, "_BATCH", 2)
    await world.webhooks("http://127.0.0.1:9/", WEBHOOKS)
    device = await a_device(operator)
    await place_all(world)
    found = [event_of(row) for row in await world.fetch(OF_RESOURCE, world.id, device)]
    told = [(each.id, each.type, each.created_at) for each in found]
    events = [each.id for each in found]
    assert len(events) == 2
    assert await answers(world, operator, events) >= set(events)
    await operator.call("DELETE", f"/v1/devices/{device}", 204)
    assert await rows(world) == (2, 2 * WEBHOOKS)
    emptied = [event_of(row) for row in await world.fetch(OF_RESOURCE, world.id, device)]
    assert [(each.id, each.type, each.created_at) for each in emptied] == told
    assert {bytes(each.data) for each in emptied} == {b'{"id" : "%s"}' % device.encode()}
    assert await answers(world, operator, events) == set()
    removal, seen = ErasedEvents(world.ports), [2 * WEBHOOKS]
    while await removal.remove_some():
        seen.append((await rows(world))[1])
    assert seen == [6, 4, 2, 0]
    assert await rows(world) == (0, 0)


async def test_nothing_erased_is_sent_and_what_follows_arrives(
    world: World, receiver: Receiver, operator: Device
) -> None:
    """The first event is under way, and the second one waits for it, when their recording is deleted."""
    let_go = asyncio.Event()

    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.write(OK)

    receiver.respond = respond
    await world.webhook(receiver.url)
    async with delivering(world.ports):
        recording, _ = await operator.upload(b"OggS" + bytes(99))
        await until(lambda: len(receiver.received) == 1)
        await world.settled(2, "pending")
        await operator.call("DELETE", f"/v1/recordings/{recording}", 204)
        async with patience(60):
            while (await rows(world))[0]:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)
        await until(lambda: len(receiver.received) == 2)
        let_go.set()
        await world.settled(1, "succeeded")
    kinds = [msgspec.json.decode(request.body)["type"] for request in receiver.received]
    assert kinds == ["recording.created", "recording.deleted"]


async def test_what_other_transactions_have_locked_is_left_for_later(
    world: World, ports: Ports, stranger: Tenant
) -> None:
    other = world_of(ports, stranger)
    for each in (world, other):
        await each.webhook("http://127.0.0.1:9/")
        await each.publish("dev_1")
    await place_all(world)
    removal = ErasedEvents(world.ports)
    async with world.ports.database.transaction() as connection:
        await outbox.erase(connection, world.id, ["dev_1"])
        await outbox.erase(connection, other.id, ["dev_1"])
    async with world.ports.database.transaction() as connection:
        await connection.execute("SELECT FROM webhook_deliveries WHERE world_id = $1 FOR UPDATE", world.id)
        while await rows(other) != (0, 0):
            await removal.remove_some()
        assert await removal.remove_some() == 0
        assert await rows(world) == (1, 1)
    assert await removal.remove_some() == 2
    assert await rows(world) == (0, 0)


async def test_an_event_that_no_webhook_got_goes_with_the_deletion(world: World) -> None:
    await world.publish("dev_1")
    async with world.ports.database.transaction() as connection:
        await outbox.erase(connection, world.id, ["dev_1"])
    assert await world.fetch(OF_RESOURCE, world.id, "dev_1") == []
