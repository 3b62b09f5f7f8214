"""An event reaches its webhooks: the bytes, the headers, the order, and what the attempts leave."""

from __future__ import annotations

import asyncio
import re

import msgspec
import pytest

from lapel import __version__
from tests.webhooks.delivery.support import OK, Received, Receiver, World, answer, never, receiving, until

PAUSE = "UPDATE webhooks SET paused_until = now() + $2::text::interval WHERE world_id = $1"
# Without a probe.
UNPAUSE = "UPDATE webhooks SET paused_until = NULL WHERE world_id = $1"
# As a recovery makes them: due now, and so later than those that are there.
RECOVERED = """
INSERT INTO webhook_deliveries
    (world_id, id, webhook_id, event_id, resource_id, position, state, due_at, created_at)
SELECT world_id, replace(id, 'evt_', 'whd_'), $2, id, resource_id, position, 'pending', now(), now()
FROM events WHERE world_id = $1 AND type = 'device.bound'
"""
MORE_THAN_A_LOOK = 205

pytestmark = pytest.mark.usefixtures("engine")


async def test_an_event_is_delivered_with_each_header_once(world: World, receiver: Receiver) -> None:
    webhook = await world.webhook(receiver.url)
    event = await world.publish(data=b'{"text":"\xc3\xa9"}')
    (delivery,) = await world.settled(1)
    (request,) = receiver.received
    (stored,) = await world.fetch("SELECT body, position FROM events WHERE id = $1", event)
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == stored["body"]
    names = [name.lower() for name, _ in request.headers]
    assert len(names) == len(set(names))
    assert not {"transfer-encoding", "content-encoding", "expect"} & set(names)
    assert request["Content-Type"] == "application/json"
    assert request["Content-Length"] == str(len(stored["body"]))
    assert request["User-Agent"] == f"Lapel/{__version__}"
    assert request["X-Lapel-Sequence"] == str(stored["position"])
    assert request.event_id == request["webhook-id"] == msgspec.json.decode(request.body)["id"] == event
    assert re.fullmatch("[0-9]{10}", request["X-Bota-Timestamp"])
    assert request["webhook-timestamp"] == request["X-Bota-Timestamp"]
    assert re.fullmatch("v1=[0-9a-f]{64}", request["X-Bota-Signature"])
    assert request.bota_signed_by(webhook.secret)
    assert delivery["state"] == "succeeded"
    assert delivery["attempts"] == delivery["tries"] == 1
    (attempt,) = await world.attempts()
    assert (attempt["status"], attempt["error"], attempt["answer"]) == (200, None, b"ok")


async def test_each_webhook_gets_the_types_that_it_wants(world: World, receiver: Receiver) -> None:
    everything = await world.webhook(receiver.url)
    bound = await world.webhook(receiver.url, "device.bound", "device.offline")
    await world.webhook(receiver.url, "recording.created")
    await world.publish(type="device.bound")
    await world.publish(type="device.unbound")
    found = await world.settled(3)
    assert sorted(row["webhook_id"] for row in found) == sorted([everything.id, bound.id, everything.id])


async def test_a_test_event_goes_to_its_webhook_only(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    chosen = await world.webhook(receiver.url, "recording.created")
    event = await world.publish(test_for=chosen.id)
    (delivery,) = await world.settled(1)
    assert (delivery["webhook_id"], delivery["event_id"]) == (chosen.id, event)


async def test_a_later_event_of_a_resource_waits_for_the_first_attempt_of_an_earlier_one(
    world: World, receiver: Receiver
) -> None:
    let_go, asked = asyncio.Event(), asyncio.Event()

    async def respond(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.event_id == first:
            asked.set()
            await let_go.wait()
            writer.write(answer(500))
        else:
            writer.write(OK)

    receiver.respond = respond
    await world.webhook(receiver.url)
    first = await world.publish("dev_1")
    second = await world.publish("dev_1")
    third = await world.publish("dev_1")
    other = await world.publish("dev_2")
    await asked.wait()
    await until(lambda: len(receiver.received) == 2)  # other resources do not wait
    let_go.set()
    # The retry of the first event does not hold up the later ones.
    await world.settled(3)
    order = [request.event_id for request in receiver.received]
    assert sorted(order[:2]) == sorted([first, other])
    assert order[2:] == [second, third]
    await world.all_due()
    await world.attempted(5)
    assert receiver.received[-1].event_id == first


@pytest.mark.deep
async def test_the_many_events_of_one_resource_do_not_hold_up_the_others(
    world: World, receiver: Receiver
) -> None:
    """More deliveries of one resource than one look takes are due first, and the first of them hangs."""
    let_go = asyncio.Event()

    async def respond(request: Received, writer: asyncio.StreamWriter) -> None:
        if resource[request.event_id] == "dev_5":
            await let_go.wait()
        writer.write(OK)

    receiver.respond = respond
    webhook = await world.webhook(receiver.url)
    await world.execute(PAUSE, world.id, "1 hour")
    hot = await world.publish_all([("dev_5", "device.bound")] * MORE_THAN_A_LOOK)
    resource = dict.fromkeys(hot, "dev_5")
    await world.settled(MORE_THAN_A_LOOK, "pending")
    names = ["dev_1", "dev_1", *(f"dev_{n}" for n in range(6, 60))]
    others = dict(zip(await world.publish_all((each, "device.bound") for each in names), names, strict=True))
    resource |= others
    await world.settled(len(resource), "pending")
    await world.execute(UNPAUSE, world.id)
    done = [row for row in await world.settled(len(others), "succeeded") if row["state"] == "succeeded"]
    assert {row["event_id"] for row in done} == set(others)
    assert [each.event_id for each in receiver.received if each.event_id not in others] == [
        next(iter(resource))
    ]
    let_go.set()
    await world.settled(len(resource), "succeeded")
    order = [each.event_id for each in receiver.received]
    for one in ("dev_1", "dev_5"):
        assert [each for each in order if resource[each] == one] == [
            event for event, of in resource.items() if of == one
        ], webhook.id


async def test_a_thousand_webhooks_of_one_project_get_an_event(world: World, receiver: Receiver) -> None:
    await world.webhooks(receiver.url, 1000)
    event = await world.publish()
    await world.settled(1000, "succeeded")
    assert {request.event_id for request in receiver.received} == {event}
    assert len(receiver.received) == 1000


async def test_the_events_of_each_resource_arrive_in_order(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    resource = {await world.publish(f"dev_{number % 70}"): number % 70 for number in range(300)}
    await world.settled(300, "succeeded")
    assert sorted(request.event_id for request in receiver.received) == sorted(resource)
    seen: dict[int, int] = {}
    for request in receiver.received:
        position, of = int(request["X-Lapel-Sequence"]), resource[request.event_id]
        assert seen.get(of, 0) < position
        seen[of] = position


async def test_two_webhooks_do_not_wait_for_each_other(world: World, receiver: Receiver) -> None:
    async with receiving(never) as slow:
        await world.webhook(slow.url)
        good = await world.webhook(receiver.url)
        for _ in range(150):
            await world.publish()
        await world.settled(150, "succeeded")
        assert {row["webhook_id"] for row in await world.deliveries() if row["state"] == "succeeded"} == {
            good.id
        }
        await until(lambda: len(slow.received) == 100)


async def test_events_that_were_recovered_late_hold_up_nothing(world: World, receiver: Receiver) -> None:
    """More deliveries than one look takes are due before the first event of their resource."""
    webhook = await world.webhook(receiver.url, "device.unbound")
    await world.execute(PAUSE, world.id, "1 hour")
    await world.publish_all(
        (f"dev_{number}", type_)
        for number in range(MORE_THAN_A_LOOK)
        for type_ in ("device.bound", "device.unbound")
    )
    await world.settled(MORE_THAN_A_LOOK, "pending")
    await world.execute(RECOVERED, world.id, webhook.id)
    await world.execute(PAUSE, world.id, "0 s")
    await world.settled(2 * MORE_THAN_A_LOOK, "succeeded")
    assert len({each.event_id for each in receiver.received}) == 2 * MORE_THAN_A_LOOK
