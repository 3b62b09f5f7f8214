"""A probe that decides nothing does not pause its webhook."""

from __future__ import annotations

import asyncio

import pytest

from lapel.slices.webhooks.delivery import engine, start_queue
from lapel.slices.webhooks.delivery.claim_queries import ClaimedRow
from lapel.slices.webhooks.delivery.claiming import Claims
from lapel.slices.webhooks.delivery.fan_out import FanOut
from lapel.slices.webhooks.delivery.webhook_places import WebhookPlaces
from tests.support.patience import patience
from tests.webhooks.delivery.support import Receiver, Webhook, World, accept, delivering, never, until


async def an_open_circuit(world: World, url: str) -> Webhook:
    """A webhook that may be probed now."""
    webhook = await world.webhook(url)
    await world.execute(
        "UPDATE webhooks SET failures = 10, failing_since = now(), paused_until = now() WHERE world_id = $1",
        world.id,
    )
    return webhook


async def place_all(world: World) -> None:
    fan_out = FanOut(world.ports)
    while await fan_out.place_some():
        pass


async def probes(world: World, claims: Claims) -> list[ClaimedRow]:
    """What looks at all webhooks claim of the world's: probes only."""
    claimed: list[ClaimedRow] = []
    while True:
        found = await claims.look()
        own = [row for row in found.claimed if row.world_id == world.id]
        assert all((row.world_id, row.webhook_id) in found.probes for row in own)
        claimed += own
        if not found.more:
            return claimed


async def test_a_webhook_whose_due_delivery_is_under_way_elsewhere_is_not_paused(world: World) -> None:
    webhook = await an_open_circuit(world, "http://127.0.0.1:9/")
    await world.publish()
    await place_all(world)
    await world.execute(
        "UPDATE webhook_deliveries SET leased_until = now() + interval '1 hour' WHERE world_id = $1", world.id
    )
    claims = Claims(world.ports, WebhookPlaces())
    assert await probes(world, claims) == []
    assert (await world.state(webhook))["pause"] <= 0
    await world.execute("UPDATE webhook_deliveries SET leased_until = NULL WHERE world_id = $1", world.id)
    assert len(await probes(world, claims)) == 1
    assert (await world.state(webhook))["pause"] > 60


async def test_behind_a_delivery_of_an_erased_event_the_next_one_is_the_probe(world: World) -> None:
    await an_open_circuit(world, "http://127.0.0.1:9/")
    erased, event = await world.publish(), await world.publish()
    await place_all(world)
    await world.execute("UPDATE events SET erased = true WHERE id = $1", erased)
    claims = Claims(world.ports, WebhookPlaces())
    assert await probes(world, claims) == []
    assert [row.event_id for row in await probes(world, claims)] == [event]


async def test_a_probe_without_an_outcome_ends_its_pause(world: World) -> None:
    webhook = await an_open_circuit(world, "http://127.0.0.1:9/")
    events = [await world.publish(), await world.publish()]
    await place_all(world)
    claims = Claims(world.ports, WebhookPlaces())
    (first,) = await probes(world, claims)
    assert await probes(world, claims) == []
    claims.probes.lost(world.id, webhook.id)
    # A request of another kind has the row: the pause ends in a later look.
    async with world.ports.database.transaction() as lock:
        await lock.execute("SELECT FROM webhooks WHERE id = $1 FOR NO KEY UPDATE", webhook.id)
        assert await probes(world, claims) == []
    (second,) = await probes(world, claims)
    assert [first.event_id, second.event_id] == events


async def test_a_probe_that_is_lost_while_the_pauses_of_others_end_is_not_forgotten(world: World) -> None:
    first = await an_open_circuit(world, "http://127.0.0.1:9/")
    second = await an_open_circuit(world, "http://127.0.0.1:9/")
    await world.publish()
    await world.publish()
    await place_all(world)
    claims = Claims(world.ports, WebhookPlaces())
    assert len(await probes(world, claims)) == 2
    claims.probes.lost(world.id, first.id)
    async with world.ports.database.acquire() as connection:
        ending = asyncio.create_task(claims.probes.end_pauses(connection))
        await asyncio.sleep(0)  # the task waits for the database now
        claims.probes.lost(world.id, second.id)
        await ending
    assert {row.webhook_id for row in await probes(world, claims)} == {first.id, second.id}


async def test_a_pause_that_the_receiver_asked_for_meanwhile_stays(world: World) -> None:
    webhook = await an_open_circuit(world, "http://127.0.0.1:9/")
    await world.publish()
    await world.publish()
    await place_all(world)
    claims = Claims(world.ports, WebhookPlaces())
    assert len(await probes(world, claims)) == 1
    await world.execute(
        "UPDATE webhooks SET paused_until = now() + interval '1 hour' WHERE id = $1", webhook.id
    )
    claims.probes.lost(world.id, webhook.id)
    assert await probes(world, claims) == []
    assert (await world.state(webhook))["pause"] > 3000


async def test_a_worker_that_stops_leaves_the_probe_to_others_at_once(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LAST_SECONDS", 0.1)
    receiver.respond = never
    webhook = await an_open_circuit(world, receiver.url)
    await world.publish()
    async with delivering(world.ports):
        await until(lambda: len(receiver.received) == 1)
    assert (await world.state(webhook))["pause"] <= 0
    receiver.respond = accept
    async with delivering(world.ports):
        await world.settled(1, "succeeded")
    assert (await world.state(webhook))["paused_until"] is None


async def test_a_worker_that_stops_before_a_probe_begins_leaves_it_to_others_at_once(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await an_open_circuit(world, receiver.url)
    await world.publish()
    with monkeypatch.context() as busy:
        busy.setattr(start_queue, "_OF_A_TURN", 0)
        async with delivering(world.ports), patience(60):
            while (await world.state(webhook))["pause"] <= 0:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)
    assert receiver.received == []
    assert (await world.state(webhook))["pause"] <= 0
    (delivery,) = await world.deliveries()
    assert (delivery["state"], delivery["leased_until"]) == ("pending", None)
