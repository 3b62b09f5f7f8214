"""A webhook has a bounded number of pending deliveries; a recovery brings what was beyond the bound."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client import REGISTRY

from lapel.foundation.database import outbox
from lapel.slices.webhooks.delivery.fan_out import FanOut
from lapel.slices.webhooks.delivery.pending_bounds import PendingBounds
from lapel.slices.webhooks.payloads import RecoveryJob
from lapel.slices.webhooks.records.recoveries import Recoveries
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import Receiver, Webhook, World, delivering

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = "UPDATE webhook_deliveries SET state = 'succeeded', due_at = NULL, ended_at = now() WHERE id = ANY($1)"


@pytest.fixture
def bounded(world: World) -> World:
    """A world that may have 12 pending deliveries."""
    settings = replace(world.ports.settings, pending_deliveries_per_world=12)
    return replace(world, ports=replace(world.ports, settings=settings))


async def placed(world: World, fan_out: FanOut, count: int) -> list[str]:
    """Publish and place events, one after the other; returns their ids."""
    ids = [await world.publish() for _ in range(count)]
    while await fan_out.place_some():
        pass
    return ids


def refused() -> float:
    """What this process's metrics say of refused deliveries."""
    value = REGISTRY.get_sample_value("lapel_webhook_deliveries_refused_total")
    assert value is not None
    return value


async def of(world: World, webhook: Webhook, state: str) -> list[dict[str, object]]:
    """The deliveries of a webhook in a state, in the order of their positions."""
    return [
        row for row in await world.deliveries() if (row["webhook_id"], row["state"]) == (webhook.id, state)
    ]


async def test_what_is_beyond_the_share_of_a_webhook_fails_at_once_and_says_why(
    bounded: World, receiver: Receiver, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    one, other = await bounded.webhook(receiver.url), await bounded.webhook(receiver.url, "ota.failed")
    gone = await bounded.webhook(receiver.url)
    await bounded.execute("UPDATE webhooks SET status = 'disabled' WHERE id = $1", gone.id)
    fan_out = FanOut(bounded.ports)
    events = await placed(bounded, fan_out, 4) + await placed(bounded, fan_out, 5)
    assert [row["event_id"] for row in await of(bounded, one, "pending")] == events[:6]
    failed = await of(bounded, one, "failed")
    assert [row["event_id"] for row in failed] == events[6:]
    assert all(row["ended_at"] and row["due_at"] is None and row["attempts"] == 0 for row in failed)
    path = f"/v1/webhooks/{one.id}/deliveries/{failed[0]['id']}"
    shown = (await client.get(path, headers=tenant.headers)).json()
    assert (shown["status"], shown["attempt_count"], shown["response_status"]) == ("failed", 0, None)
    assert "/recover" in shown["error"]
    # The other webhook has a share of its own.
    await bounded.publish(type="ota.failed")
    await fan_out.place_some()
    assert len(await of(bounded, other, "pending")) == 1


async def test_deliveries_that_are_refused_are_counted(bounded: World, receiver: Receiver) -> None:
    await bounded.webhook(receiver.url)
    fan_out, before = FanOut(bounded.ports), refused()
    await placed(bounded, fan_out, 12)
    assert refused() == before
    await placed(bounded, fan_out, 3)
    assert refused() == before + 3


async def test_no_other_worker_waits_while_one_measures(bounded: World, receiver: Receiver) -> None:
    webhook, database = await bounded.webhook(receiver.url), bounded.ports.database
    event = await bounded.publish()
    async with database.transaction() as blocking:
        await blocking.execute("LOCK TABLE webhook_deliveries IN ACCESS EXCLUSIVE MODE")
        placing = asyncio.create_task(FanOut(bounded.ports).place_some())
        await until_waiting(bounded.ports, 1)
        async with database.transaction() as other:
            assert await outbox.lock_positions(other), "another worker may place events meanwhile"
    assert await placing == 1
    assert [row["event_id"] for row in await of(bounded, webhook, "pending")] == [event]


async def test_a_recovery_fills_the_share_and_says_that_it_stopped(
    bounded: World, receiver: Receiver, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    webhook = await bounded.webhook(receiver.url)
    events = await placed(bounded, FanOut(bounded.ports), 30)
    recoveries = Recoveries(bounded.ports)
    path = f"/v1/webhooks/{webhook.id}"
    numbers: list[tuple[str, int, int]] = []
    later = "UPDATE webhook_deliveries SET due_at = now() + interval '8 hours' WHERE state = 'pending'"
    for arrived in (0, 5, 12, 12):
        pending = await of(bounded, webhook, "pending")
        await bounded.execute(END, [row["id"] for row in pending[:arrived]])
        await bounded.execute(f"{later} AND world_id = $1", bounded.id)
        body = {"since": BEGIN.isoformat()}
        answer = await client.post(f"{path}/recover", json=body, headers=tenant.headers)
        assert answer.status_code == 202, answer.text
        until = datetime.now(UTC) + timedelta(hours=1)
        await recoveries.recover(RecoveryJob(bounded.id, webhook.id, BEGIN, until))
        await bounded.execute("DELETE FROM jobs.pgqueuer WHERE entrypoint = 'webhooks.recover'")
        shown = (await client.get(path, headers=tenant.headers)).json()["recovery"]
        numbers.append((shown["status"], shown["queued"], shown["brought_forward"]))
        assert shown["ended_at"] is not None
        assert all(row["wait"] <= 0 for row in await bounded.deliveries() if row["state"] == "pending")
    assert numbers == [("stopped", 0, 12), ("stopped", 5, 7), ("stopped", 12, 0), ("completed", 1, 0)]
    async with delivering(bounded.ports):
        await bounded.settled(30, "succeeded")
    assert {each.event_id for each in receiver.received} <= set(events)


async def test_without_a_bound_everything_is_pending(world: World, receiver: Receiver) -> None:
    settings = replace(world.ports.settings, pending_deliveries_per_world=0)
    free = replace(world, ports=replace(world.ports, settings=settings))
    webhook = await free.webhook(receiver.url)
    await placed(free, FanOut(free.ports), 20)
    assert len(await of(free, webhook, "pending")) == 20


async def test_room_is_measured_again_when_it_is_old_or_used_up(bounded: World, receiver: Receiver) -> None:
    webhook, now = await bounded.webhook(receiver.url), 0.0
    bounds, key = PendingBounds(12, lambda: now), (bounded.id, webhook.id)

    async def room_for(count: int) -> int:
        if not bounds.know({key: count}):
            async with bounded.ports.database.acquire() as connection:
                await bounds.measure(connection, {key: count})
        assert bounds.know({key: count}), "so that a fan-out does not measure without an end"
        return bounds.take({key: count})[key]

    # What was taken is not written, as if it had been delivered meanwhile: there is room again at once.
    assert [await room_for(5) for _ in range(8)] == [5] * 8
    await placed(bounded, FanOut(bounded.ports), 11)
    assert await room_for(2) == 2, "another worker's deliveries count when the room is measured again"
    now += 30
    assert [await room_for(5), await room_for(5)] == [1, 0]
    await bounded.execute(END, [row["id"] for row in await of(bounded, webhook, "pending")])
    assert await room_for(5) == 0, "a webhook that is nearly full is not measured for each event"
    now += 5
    assert await room_for(5) == 5
    async with bounded.ports.database.acquire() as connection:
        await bounds.measure(connection, {key: 20})
    assert bounds.know({key: 20}), "it is used once, though it is too little"
    now += 5
    assert not bounds.know({key: 20}), (
        "another worker has placed the events, and the receiver may have taken some"
    )
    assert bounds.know({key: 5})
