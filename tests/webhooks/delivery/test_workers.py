"""Several workers share the deliveries: one that stops, one that is stuck, and clocks that differ."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lapel.cli.doctor.webhook_checks import deliveries
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import CONNECTIONS
from lapel.slices.webhooks.delivery import engine, start_queue
from lapel.slices.webhooks.delivery.delivery_metrics import IN_FLIGHT
from lapel.slices.webhooks.delivery.fan_out import FanOut
from lapel.slices.webhooks.delivery.webhook_places import OF_WEBHOOK
from tests.support.patience import patience
from tests.support.postgres import END_OTHERS
from tests.webhooks.delivery.support import (
    OK,
    Received,
    Receiver,
    World,
    accept,
    answer,
    delivering,
    never,
    until,
)


async def test_a_worker_that_stops_leaves_its_deliveries_to_others_at_once(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LAST_SECONDS", 0.1)
    receiver.respond = never
    await world.webhook(receiver.url)
    event = await world.publish()
    async with delivering(world.ports):
        await until(lambda: len(receiver.received) == 1)
    (delivery,) = await world.deliveries()
    assert (delivery["state"], delivery["leased_until"], delivery["attempts"]) == ("pending", None, 0)
    receiver.respond = accept
    async with delivering(world.ports):
        await world.settled(1, "succeeded")
    assert [request.event_id for request in receiver.received] == [event, event]


async def test_an_attempt_that_ends_while_the_worker_stops_is_written(
    world: World, receiver: Receiver
) -> None:
    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(OK)

    receiver.respond = respond
    await world.webhook(receiver.url)
    await world.publish()
    async with delivering(world.ports):
        await until(lambda: len(receiver.received) == 1)
    (delivery,) = await world.deliveries()
    assert (delivery["state"], delivery["attempts"]) == ("succeeded", 1)


async def test_two_workers_deliver_each_event_once_in_order(world: World, receiver: Receiver) -> None:
    await world.webhook(receiver.url)
    # The clock of one of them is minutes behind.
    late = replace(world.ports, clock=ManualClock(world.ports.clock.now() - timedelta(minutes=7)))
    async with delivering(world.ports), delivering(late):
        of = {await world.publish(f"dev_{number % 40}"): number % 40 for number in range(200)}
        await world.settled(200, "succeeded")
    assert len(receiver.received) == 200
    last: dict[int, int] = {}
    for request in receiver.received:
        resource, position = of[request.event_id], int(request["X-Lapel-Sequence"])
        assert last.get(resource, 0) < position
        last[resource] = position


async def test_a_lease_that_ends_is_taken_over_and_both_attempts_are_written(
    world: World, receiver: Receiver
) -> None:
    let_go = asyncio.Event()

    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        if len(receiver.received) == 1:
            await let_go.wait()
        writer.write(OK)

    receiver.respond = respond
    await world.webhook(receiver.url)
    await world.publish()
    async with delivering(world.ports):
        await until(lambda: len(receiver.received) == 1)
        async with delivering(world.ports), patience(60):
            # As if the first worker had been stopped for longer than its lease. It may be the one that claims
            # the delivery next, and it does not attempt it twice, so the lease ends again and again.
            while len(receiver.received) == 1:
                await world.execute(
                    "UPDATE webhook_deliveries SET leased_until = now() WHERE world_id = $1", world.id
                )
                await asyncio.sleep(0.02)
            await world.settled(1, "succeeded")
            let_go.set()
            await world.attempted(2)
    (delivery,) = await world.deliveries()
    assert (delivery["state"], delivery["attempts"], delivery["tries"]) == ("succeeded", 2, 1)


async def test_outcomes_wait_while_another_transaction_has_the_delivery(
    world: World, receiver: Receiver
) -> None:
    asked = asyncio.Event()
    let_go = asyncio.Event()

    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await let_go.wait()
        writer.write(OK)

    receiver.respond = respond
    await world.webhook(receiver.url)
    await world.publish()
    async with delivering(world.ports):
        await asked.wait()
        async with world.ports.database.transaction() as connection:
            await connection.execute(
                "SELECT FROM webhook_deliveries WHERE world_id = $1 FOR UPDATE", world.id
            )
            let_go.set()
            await asyncio.sleep(0.2)
            assert await world.attempts() == []
        await world.settled(1, "succeeded")


async def test_successes_that_cannot_be_written_yet_hold_up_no_others_until_they_are_many(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, events = 150, 400
    monkeypatch.setattr(engine, "_MOST_KEPT", most)
    await world.webhook(receiver.url)
    async with delivering(world.ports):
        async with world.ports.database.transaction() as connection:
            await connection.execute("LOCK TABLE webhook_attempts IN SHARE MODE")
            await world.publish_all((f"dev_{number}", "device.bound") for number in range(events))
            await until(lambda: len(receiver.received) >= most)
            await asyncio.sleep(1.5)  # there is a look each second
            assert len(receiver.received) < most + 2 * OF_WEBHOOK
        await world.settled(events, "succeeded")
    assert len(receiver.received) == events


async def test_a_dead_database_connection_loses_no_outcome(world: World, receiver: Receiver) -> None:
    async def respond(_: Received, writer: asyncio.StreamWriter) -> None:
        await world.execute(END_OTHERS)
        writer.write(OK)
        receiver.script()

    receiver.respond = respond
    await world.webhook(receiver.url)
    async with delivering(world.ports):
        event = await world.publish()
        await until(lambda: len(receiver.received) >= 1)
        for _ in range(CONNECTIONS):  # each look may find one of the dead ones
            with contextlib.suppress(Unavailable):
                await world.settled(1, "succeeded")
    (delivery,) = await world.deliveries()
    assert delivery["state"] == "succeeded"
    assert {request.event_id for request in receiver.received} == {event}


async def test_the_attempts_that_run_are_counted_without_those_that_wait_to_begin(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def running() -> float:
        (metric,) = IN_FLIGHT.collect()
        return metric.samples[0].value

    receiver.respond = never
    monkeypatch.setattr(engine, "_RENEW", 0.02)
    monkeypatch.setattr(engine, "_LAST_SECONDS", 0.1)
    monkeypatch.setattr(start_queue, "_OF_A_TURN", 0)
    await world.webhook(receiver.url)
    await world.publish()
    async with delivering(world.ports), patience(60):
        while [each["leased_until"] for each in await world.deliveries()] in ([], [None]):  # noqa: ASYNC110 - a table
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # it is counted again and again
        assert running() == 0
        monkeypatch.setattr(start_queue, "_OF_A_TURN", 1)
        await until(lambda: running() == 1)


async def test_doctor_tells_of_deliveries_that_no_worker_makes(world: World, receiver: Receiver) -> None:
    # Doctor looks at all worlds, and other tests leave pending deliveries behind.
    await world.execute("DELETE FROM webhook_deliveries WHERE world_id <> $1", world.id)
    receiver.script(answer(500))
    await world.webhook(receiver.url)
    await world.publish()
    async with delivering(world.ports):
        await world.attempted(1)
    async with world.ports.database.acquire() as connection:
        assert (await deliveries(connection, world.ports.settings)).state == "ok"
        await world.execute(
            "UPDATE webhook_deliveries SET due_at = now() - interval '6 minutes' WHERE world_id = $1",
            world.id,
        )
        found = await deliveries(connection, world.ports.settings)
        assert (found.state, found.detail.split(" are ")[0]) == (
            "warning",
            "deliveries to 1 webhooks that work",
        )
        # A webhook that fails all the time is not the worker's fault.
        await world.execute("UPDATE webhooks SET paused_until = now() WHERE world_id = $1", world.id)
        assert (await deliveries(connection, world.ports.settings)).state == "ok"


async def waiting(client: httpx.AsyncClient) -> dict[str, float]:
    """What the metrics tell of work that waits."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    names = {"lapel_events_waiting_seconds", "lapel_webhook_overdue_seconds", "lapel_webhooks_overdue"}
    return {each.name[6:]: each.samples[0].value for each in families if each.name in names}


async def test_metrics_tell_how_far_the_workers_are_behind(
    world: World, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    # The metrics are about all worlds, and other tests leave events and pending deliveries behind.
    placing = FanOut(world.ports)
    while await placing.place_some():
        pass
    await world.execute("DELETE FROM webhook_deliveries WHERE world_id <> $1", world.id)
    await world.webhook(receiver.url)
    nothing = {"events_waiting_seconds": 0, "webhook_overdue_seconds": 0, "webhooks_overdue": 0}
    assert await waiting(client) == nothing
    event = await world.publish()
    await world.execute("UPDATE events SET created_at = now() - interval '90 s' WHERE id = $1", event)
    found = await waiting(client)
    assert found.pop("events_waiting_seconds") >= 90
    assert found == {"webhook_overdue_seconds": 0, "webhooks_overdue": 0}
    assert await placing.place_some() == 1
    for late, count in ((200, 0), (400, 1)):
        await world.execute(
            "UPDATE webhook_deliveries SET due_at = now() - make_interval(secs => $2) WHERE world_id = $1",
            world.id,
            late,
        )
        found = await waiting(client)
        assert found.pop("webhook_overdue_seconds") >= late
        assert found == {"events_waiting_seconds": 0, "webhooks_overdue": count}
    async with delivering(world.ports):
        await world.settled(1, "succeeded")
    assert await waiting(client) == nothing
