"""Webhooks that change while a delivery is under way: the receiver has the request, and has not answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import standardwebhooks

from lapel.slices.webhooks.payloads import WebhookJob
from lapel.slices.webhooks.records.endings import Endings
from tests.support.patience import patience
from tests.support.tenants import Tenant
from tests.webhooks.delivery.support import (
    OK,
    Received,
    Receiver,
    World,
    answer,
    receiving,
    until,
)

pytestmark = pytest.mark.usefixtures("engine")


Decide = Callable[[Received], bytes]


@dataclass(slots=True)
class Slow:
    """Answers no request before `let_go` is set, and then each one as `decide` says."""

    decide: Decide = lambda _: OK
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def respond(self, request: Received, writer: asyncio.StreamWriter) -> None:
        await self.let_go.wait()
        writer.write(self.decide(request))


def holding(*secrets: str) -> Decide:
    """Accepts what is signed with one of these secrets, as the contract says; everything else is 401."""
    return lambda request: OK if any(request.bota_signed_by(each) for each in secrets) else answer(401)


def verified_by(request: Received, secret: str) -> None:
    """Raises when `webhook-signature` has no signature with this secret."""
    headers = {name.lower(): value for name, value in request.headers}
    standardwebhooks.Webhook(secret).verify(request.body, headers)


async def call(
    client: httpx.AsyncClient, tenant: Tenant, method: str, path: str, body: dict[str, Any] | None = None
) -> Any:
    sent = await client.request(method, f"/v1/webhooks{path}", json=body, headers=tenant.headers)
    assert sent.is_success, sent.text
    return sent.json() if sent.content else None


async def rotated_meanwhile(
    world: World, client: httpx.AsyncClient, tenant: Tenant, receiver: Receiver
) -> tuple[str, str]:
    """Replace the secret of a webhook while the receiver has a request. The old and the new secret."""
    webhook = await world.webhook(receiver.url)
    await world.publish()
    await until(lambda: len(receiver.received) == 1)
    rotated = await call(client, tenant, "POST", f"/{webhook.id}/rotate-secret")
    return webhook.secret, rotated["secret"]


@pytest.mark.parametrize("has_new", [False, True])
async def test_a_receiver_that_has_the_old_secret_accepts_the_request_of_before_a_rotation(
    world: World, client: httpx.AsyncClient, tenant: Tenant, *, has_new: bool
) -> None:
    slow = Slow()
    async with receiving(slow.respond) as receiver:
        old, new = await rotated_meanwhile(world, client, tenant, receiver)
        slow.decide = holding(old, new) if has_new else holding(old)
        slow.let_go.set()
        (delivery,) = await world.settled(1, "succeeded")
    assert delivery["attempts"] == 1
    verified_by(receiver.received[0], old)


async def test_a_receiver_that_has_only_the_new_secret_accepts_the_retry(
    world: World, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    slow = Slow()
    async with receiving(slow.respond) as receiver:
        old, new = await rotated_meanwhile(world, client, tenant, receiver)
        slow.decide = holding(new)
        slow.let_go.set()
        await world.attempted(1)
        await world.all_due()
        await world.settled(1, "succeeded")
    before, retry = receiver.received
    assert before.bota_signed_by(old)
    assert retry.bota_signed_by(new)
    for secret in (old, new):
        verified_by(retry, secret)
    assert before.body == retry.body
    assert [row["status"] for row in await world.attempts()] == [401, 200]


async def test_a_receiver_that_has_only_the_old_secret_accepts_the_retry(
    world: World, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    """The request of before the rotation fails for another reason, so that a retry follows."""
    slow = Slow(lambda _: answer(503))
    async with receiving(slow.respond) as receiver:
        old, new = await rotated_meanwhile(world, client, tenant, receiver)
        slow.let_go.set()
        await world.attempted(1)
        slow.decide = holding(old)
        await world.all_due()
        await world.settled(1, "succeeded")
    before, retry, repeat = receiver.received
    assert before.bota_signed_by(old)
    # The retry is the new secret's. It is answered 401, and repeated at once with the old one's.
    assert retry.bota_signed_by(new)
    assert repeat.bota_signed_by(old)
    for request in (retry, repeat):
        for secret in (old, new):
            verified_by(request, secret)
    assert len({request.body for request in receiver.received}) == 1
    assert [row["status"] for row in await world.attempts()] == [503, 401, 200]


@pytest.mark.parametrize("said", [200, 410, 500])
@pytest.mark.parametrize("job_first", [True, False], ids=["job before answer", "answer before job"])
async def test_a_webhook_that_is_deleted_gets_nothing_more(
    world: World,
    client: httpx.AsyncClient,
    tenant: Tenant,
    receiver: Receiver,
    said: int,
    *,
    job_first: bool,
) -> None:
    slow = Slow(lambda _: answer(said))
    async with receiving(slow.respond) as leaving:
        deleted, other = await world.webhook(leaving.url), await world.webhook(receiver.url)
        first = await world.publish("dev_1")
        waiting = await world.publish("dev_1")
        await until(lambda: len(leaving.received) == 1)
        await world.settled(2, "succeeded")
        await call(client, tenant, "DELETE", f"/{deleted.id}")
        if not job_first:
            slow.let_go.set()
            await world.attempted(3)
        await Endings(world.ports).remove(WebhookJob(world.id, deleted.id))
        slow.let_go.set()
        after = await world.publish("dev_1")
        await world.all_due()
        await world.settled(3, "succeeded")
        assert [each.event_id for each in leaving.received] == [first]
    assert [each.event_id for each in receiver.received] == [first, waiting, after]
    assert {row["webhook_id"] for row in await world.deliveries()} == {other.id}
    assert await world.fetch("SELECT 1 FROM webhooks WHERE id = $1", deleted.id) == []


async def test_a_webhook_that_is_disabled_or_moved(
    world: World, client: httpx.AsyncClient, tenant: Tenant, receiver: Receiver
) -> None:
    slow = Slow(lambda _: answer(410))
    async with receiving(slow.respond) as former:
        disabled, moved = [await world.webhook(former.url) for _ in range(2)]
        await world.publish()
        await until(lambda: len(former.received) == 2)
        await call(client, tenant, "PATCH", f"/{disabled.id}", {"status": "disabled"})
        # The shared server does not let a webhook name an address that is not public.
        await world.execute(
            "UPDATE webhooks SET url = $3 WHERE world_id = $1 AND id = $2", world.id, moved.id, receiver.url
        )
        slow.let_go.set()
        await world.attempted(2)
        # The 410 was said at the earlier URL, so the webhook stays, and its next attempt goes to the new one.
        assert (await world.state(moved))["status"] == "enabled"
        await world.all_due()
        await world.settled(2)
        states = {row["webhook_id"]: row["state"] for row in await world.deliveries()}
        assert states == {disabled.id: "failed", moved.id: "succeeded"}
        assert len(receiver.received) == 1
        assert len(former.received) == 2


async def test_a_redelivery_takes_an_attempt_that_is_under_way_for_its_first(
    world: World, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    slow = Slow(lambda _: answer(500))
    async with receiving(slow.respond) as receiver:
        await world.webhook(receiver.url)
        await world.publish()
        await until(lambda: len(receiver.received) == 1)
        (delivery,) = await world.deliveries()
        await call(client, tenant, "POST", f"/deliveries/{delivery['id']}/redeliver")
        slow.let_go.set()
        await world.attempted(1)
        (delivery,) = await world.deliveries()
        assert (delivery["state"], delivery["attempts"], delivery["tries"]) == ("pending", 1, 1)
        assert delivery["wait"] > 0
        assert len(receiver.received) == 1


@pytest.mark.parametrize("probe", [False, True])
async def test_an_answer_that_decides_about_a_webhook_is_not_lost_while_its_row_is_locked(
    world: World, *, probe: bool
) -> None:
    slow = Slow(lambda _: OK if probe else answer(410))
    async with receiving(slow.respond) as receiver:
        webhook = await world.webhook(receiver.url)
        if probe:
            await world.execute(
                "UPDATE webhooks SET failures = 10, failing_since = now(), paused_until = now()"
                " WHERE world_id = $1",
                world.id,
            )
        await world.publish()
        await until(lambda: len(receiver.received) == 1)
        async with world.ports.database.transaction() as lock:
            await lock.execute("SELECT FROM webhooks WHERE id = $1 FOR NO KEY UPDATE", webhook.id)
            slow.let_go.set()
            await world.attempted(1)
        field_, wanted = ("failures", 0) if probe else ("disabled_reason", "gone")
        async with patience(60):
            while (row := await world.state(webhook))[field_] != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert (row["status"], row["paused_until"]) == ("enabled" if probe else "disabled", None)


async def test_deliveries_that_are_locked_hold_up_no_other_outcome(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many of them as one transaction writes."""
    monkeypatch.setattr("lapel.slices.webhooks.delivery.settling.outcomes._MOST", 1)
    slow = Slow()
    async with receiving(slow.respond) as receiver, receiving() as other:
        await world.webhook(receiver.url, "device.bound")
        await world.publish(type="device.bound")
        await until(lambda: len(receiver.received) == 1)
        async with world.ports.database.transaction() as lock:
            await lock.execute("SELECT FROM webhook_deliveries WHERE world_id = $1 FOR UPDATE", world.id)
            slow.let_go.set()
            await world.webhook(other.url, "device.unbound")
            await world.publish(type="device.unbound")
            await world.settled(1, "succeeded")
        await world.settled(2, "succeeded")
