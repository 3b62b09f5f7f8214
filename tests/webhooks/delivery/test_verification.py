"""Until a receiver has answered an event with 2xx, it gets one attempt at a time. Then the others follow."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.webhooks.payloads import WebhookJob
from lapel.slices.webhooks.records.recoveries import Recoveries
from tests.support.patience import patience
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import (
    OK,
    Received,
    Receiver,
    Webhook,
    World,
    answer,
    delivering,
    out_of_order,
    receiving,
    until,
)

FORWARD = """
SELECT count(*) FROM jobs.pgqueuer
WHERE entrypoint = 'webhooks.bring-forward' AND convert_from(payload, 'UTF8')::jsonb ->> 'webhook_id' = $1
"""


async def paused(world: World, webhook: Webhook, failures: int) -> None:
    """Wait until so many failures in a row are written."""
    async with patience(60):
        while (await world.state(webhook))["failures"] != failures:  # noqa: ASYNC110 - a table
            await asyncio.sleep(0.01)


async def forwards(world: World, webhook: Webhook) -> int:
    """How many jobs are to make the waiting deliveries due."""
    return (await world.fetch(FORWARD, webhook.id))[0]["count"]


async def forwarded(world: World, webhook: Webhook) -> bool:
    """Whether a job is to make the waiting deliveries due."""
    return bool(await forwards(world, webhook))


async def test_a_receiver_that_never_agreed_gets_one_attempt_at_a_time(
    world: World, receiver: Receiver
) -> None:
    receiver.script(*[answer(404)] * 3)
    webhook = await world.webhook(receiver.url, verified=False)
    events = dict.fromkeys([await world.publish(f"dev_{each % 7}") for each in range(40)])
    resource_of = {event: f"dev_{nth % 7}" for nth, event in enumerate(events)}
    async with delivering(world.ports):
        for nth in (1, 2, 3):
            await paused(world, webhook, nth)
            state = await world.state(webhook)
            assert len(receiver.received) == nth
            assert state["verified_at"] is None
            assert state["pause"] > 0
            await world.all_due()
        await world.settled(40, "succeeded")
    assert (await world.state(webhook))["verified_at"] is not None
    assert (await world.state(webhook))["paused_until"] is None
    assert {each.event_id for each in receiver.received} == set(events)
    assert len(receiver.received) == 43
    assert out_of_order(receiver.received, resource_of) == []
    assert await forwarded(world, webhook)


@pytest.mark.usefixtures("engine")
async def test_the_first_success_lets_all_other_events_follow_at_once(world: World) -> None:
    """The receiver holds its first answer back: meanwhile it gets nothing else."""
    answered = asyncio.Event()

    async def hold_first(_: Received, writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.write(OK)

    async with receiving(hold_first) as receiver:
        webhook = await world.webhook(receiver.url, verified=False)
        events = [await world.publish() for _ in range(5)]
        await until(lambda: len(receiver.received) == 1)
        await world.publish(test_for=webhook.id)
        assert len(receiver.received) == 1
        answered.set()
        await world.settled(6, "succeeded")
        assert {each.event_id for each in receiver.received} >= set(events)
        assert len(receiver.received) == 6
    assert not await forwarded(world, webhook), "nothing has failed"


@pytest.mark.usefixtures("engine")
async def test_a_webhook_of_an_earlier_version_gets_events_at_once_and_is_verified_by_the_next_one(
    world: World, receiver: Receiver
) -> None:
    webhook = await world.webhook(receiver.url, verified=False)
    # As a server of the earlier version writes it, beside servers of this one.
    await world.execute("UPDATE webhooks SET paused_until = NULL WHERE id = $1", webhook.id)
    await world.publish()
    await world.settled(1, "succeeded")
    async with patience(60):
        while (await world.state(webhook))["verified_at"] is None:  # noqa: ASYNC110 - a table
            await asyncio.sleep(0.01)


async def test_a_test_and_a_redelivery_do_not_wait_for_the_pause(
    world: World, receiver: Receiver, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    webhook = await world.webhook(receiver.url, verified=False)
    event = await world.publish()
    receiver.script(answer(500), answer(500), answer(500))

    async def asked(path: str, body: dict[str, str] | None = None) -> None:
        sent = await client.post(f"/v1/webhooks/{webhook.id}{path}", json=body, headers=tenant.headers)
        assert sent.status_code == 202, sent.text

    async with delivering(world.ports):
        await paused(world, webhook, 1)
        (delivery,) = await world.deliveries()
        await asked(f"/deliveries/{delivery['id']}/redeliver")
        await paused(world, webhook, 2)
        await asked("/recover", {"since": "2026-01-01T00:00:00Z"})
        await Recoveries(world.ports).bring_forward(WebhookJob(world.id, webhook.id))  # it is still paused
        await world.execute("UPDATE webhook_deliveries SET due_at = now() WHERE id = $1", delivery["id"])
        await paused(world, webhook, 3)
        await asked("/test", {"type": "device.bound"})
        await until(lambda: any(each.event_id != event for each in receiver.received))


async def test_a_test_and_a_redelivery_begin_no_second_attempt_while_one_is_under_way(
    world: World, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    """Otherwise each of them would be one more open request to a host that never agreed."""
    answered = asyncio.Event()

    async def hold(_: Received, writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.write(OK)

    async with receiving(hold) as receiver, delivering(world.ports):
        webhook = await world.webhook(receiver.url, verified=False)
        await world.publish()
        await until(lambda: len(receiver.received) == 1)
        (delivery,) = await world.deliveries()
        under_way = (await world.state(webhook))["paused_until"]
        for path, body in (
            ("/test", {"type": "device.bound"}),
            (f"/deliveries/{delivery['id']}/redeliver", None),
            ("/recover", {"since": "2026-01-01T00:00:00Z"}),
        ):
            sent = await client.post(f"/v1/webhooks/{webhook.id}{path}", json=body, headers=tenant.headers)
            assert sent.status_code == 202, sent.text
            assert (await world.state(webhook))["paused_until"] == under_way, path
        assert len(receiver.received) == 1
        answered.set()
        await world.settled(2, "succeeded")


async def test_after_an_outage_what_waits_for_hours_is_delivered_with_the_first_success(
    world: World, receiver: Receiver
) -> None:
    receiver.script(*[answer(503)] * 12)
    webhook, other = await world.webhook(receiver.url), await world.webhook(receiver.url)
    await world.execute("UPDATE webhooks SET status = 'disabled' WHERE id = $1", other.id)
    async with delivering(world.ports):
        for _ in range(12):
            await world.publish()
        await paused(world, webhook, 10)
    await world.execute(
        "UPDATE webhook_deliveries SET due_at = now() + interval '8 hours' WHERE world_id = $1", world.id
    )
    receiver.script()
    async with delivering(world.ports):
        event = await world.publish()
        await world.execute("UPDATE webhooks SET paused_until = now() WHERE id = $1", webhook.id)
        await world.settled(1, "succeeded")
        assert receiver.received[-1].event_id == event
        assert await forwarded(world, webhook)
        before = min(row["due_at"] for row in await world.deliveries() if row["state"] == "pending")
        await Recoveries(world.ports).bring_forward(WebhookJob(world.id, webhook.id))
        rows = await world.settled(13, "succeeded")
    assert all(row["ended_at"] < before - timedelta(hours=7) for row in rows)
    assert all(row["tries"] >= 1 for row in rows), "the schedule of each goes on"


async def test_the_end_of_a_second_outage_brings_forward_although_the_job_of_the_first_still_runs(
    world: World, receiver: Receiver
) -> None:
    webhook = await world.webhook(receiver.url)
    async with delivering(world.ports):
        for outages in (1, 2):
            receiver.script(*[answer(503)] * 10)
            for _ in range(10):
                await world.publish()
            await paused(world, webhook, 10)
            receiver.script()
            await world.publish()
            await world.execute("UPDATE webhooks SET paused_until = now() WHERE id = $1", webhook.id)
            await paused(world, webhook, 0)
            assert await forwards(world, webhook) == outages
            await world.execute("UPDATE jobs.pgqueuer SET status = 'picked' WHERE status = 'queued'")
            await world.all_due()
            await world.settled(11 * outages, "succeeded")


async def test_nothing_is_brought_forward_while_the_circuit_is_open_or_the_webhook_disabled(
    world: World, receiver: Receiver, ports: Ports
) -> None:
    webhook = await world.webhook(receiver.url)
    await world.publish()
    async with delivering(world.ports):
        receiver.script(answer(500))
        await world.attempted(1)
    for change in ("paused_until = now()", "paused_until = NULL, status = 'disabled'"):
        await world.execute(f"UPDATE webhooks SET {change} WHERE id = $1", webhook.id)
        await Recoveries(ports).bring_forward(WebhookJob(world.id, webhook.id))
        (row,) = await world.deliveries()
        assert row["wait"] > 30
