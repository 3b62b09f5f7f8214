"""The jobs of webhooks may end anywhere: their repetition loses nothing, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import ModuleType

import httpx
import pytest

from lapel.foundation.database import outbox
from lapel.foundation.database.pool import Database
from lapel.foundation.ports import Ports
from lapel.foundation.queue.jobs import enqueue
from lapel.foundation.queue.queue_connections import QueueConnections
from lapel.foundation.queue.queue_worker import QueueWorker
from lapel.slices.webhooks.jobs import handlers
from lapel.slices.webhooks.payloads import END_PENDING, RECOVER, REMOVE, RecoveryJob, WebhookJob
from lapel.slices.webhooks.records import ending_queries, endings, erased_events, recoveries
from lapel.slices.webhooks.records.endings import Endings, erase_some_deliveries
from lapel.slices.webhooks.records.erased_events import ErasedEvents
from lapel.slices.webhooks.records.recoveries import Recoveries
from lapel.slices.webhooks.slice import SLICE
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, make_tenant
from tests.webhooks.support import Hooks

BEGIN = datetime(2026, 1, 15, 12, tzinfo=UTC)
WAITING = """
SELECT webhook_id, count(*) FROM webhook_deliveries
WHERE world_id = $1 AND state = 'pending' AND due_at > now() GROUP BY webhook_id
"""
BATCH = 3
EVENTS = 8


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, module: ModuleType, point: str, nth: int) -> None:
    """Ends the job when it passes the point for the nth time."""
    passed = 0

    def crash_point(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == nth:
            raise Killed

    monkeypatch.setattr(module, "crash_point", crash_point)
    monkeypatch.setattr(module, "_BATCH", BATCH)


async def killed_and_repeated(
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    point: str,
    nth: int,
    run: Callable[[], Awaitable[None]],
) -> None:
    """Runs a job that is ended at the point, and then once more."""
    with monkeypatch.context() as patched:
        kill_at(patched, module, point, nth)
        with pytest.raises(Killed):
            await run()
    await run()


def points(job: str) -> list[tuple[str, int]]:
    """Each crash point of a job, in its first batch and in a later one."""
    return [(point, nth) for point in SLICE.crash_points if point.startswith(job) for nth in (1, 2)]


@pytest.mark.parametrize(("point", "nth"), points("recover"))
async def test_a_killed_recovery_is_finished_by_its_repetition(
    client: httpx.AsyncClient,
    tenant: Tenant,
    ports: Ports,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    nth: int,
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    events = [await hooks.event("ota.failed", BEGIN + timedelta(seconds=each)) for each in range(EVENTS)]
    arrived = await hooks.delivery(webhook, events[0], state="succeeded", attempts=1)
    again = await hooks.delivery(webhook, events[5], state="failed", attempts=8)
    job, service = RecoveryJob(hooks.world, webhook, BEGIN, BEGIN + timedelta(hours=1)), Recoveries(ports)
    await killed_and_repeated(monkeypatch, recoveries, point, nth, lambda: service.recover(job))
    states = await hooks.states(webhook)
    assert (len(states), states[arrived], states[again]) == (EVENTS, "succeeded", "pending")
    assert {event for event, _, _ in await hooks.by_event(webhook)} == set(events)


@pytest.mark.parametrize(("point", "nth"), points("bring-forward"))
async def test_a_killed_bringing_forward_is_finished_by_its_repetition(
    client: httpx.AsyncClient,
    tenant: Tenant,
    ports: Ports,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    nth: int,
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhook, other = await hooks.add(), await hooks.add()
    async with ports.database.acquire() as connection:
        await connection.execute("UPDATE webhooks SET paused_until = NULL WHERE id = $1", webhook)
    for each in range(EVENTS):
        event = await hooks.event("ota.failed", BEGIN + timedelta(seconds=each))
        await hooks.delivery(webhook, event, attempts=2)
        if each < 2:
            await hooks.delivery(other, event, attempts=2)
    job, service = WebhookJob(hooks.world, webhook), Recoveries(ports)
    await killed_and_repeated(monkeypatch, recoveries, point, nth, lambda: service.bring_forward(job))
    async with ports.database.acquire() as connection:
        waiting = [tuple(row) for row in await connection.fetch(WAITING, hooks.world)]
    assert waiting == [(other, 2)]
    assert {tries for _, _, tries in await hooks.by_event(webhook)} == {2}


@pytest.mark.parametrize(("point", "nth"), points("remove-erased"))
async def test_a_killed_removal_of_erased_events_is_finished_by_its_repetition(
    client: httpx.AsyncClient,
    tenant: Tenant,
    ports: Ports,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    nth: int,
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    for each in range(EVENTS):
        event = await hooks.event("ota.failed", BEGIN + timedelta(seconds=each))
        await hooks.delivery(webhook, event, state="succeeded", attempts=1)
    async with ports.database.transaction() as connection:
        await outbox.erase(connection, hooks.world, ["dev_1"])
    removal = ErasedEvents(ports)

    async def run() -> None:
        while await removal.remove_some():
            pass

    await killed_and_repeated(monkeypatch, erased_events, point, nth, run)
    assert await hooks.rows(webhook) == (1, 0, 0)


@pytest.mark.parametrize(("point", "nth"), points("remove-webhook"))
async def test_a_killed_removal_is_finished_by_its_repetition(
    client: httpx.AsyncClient,
    tenant: Tenant,
    ports: Ports,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    nth: int,
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhook, other = await hooks.add(), await hooks.add()
    for each in range(EVENTS):
        event = await hooks.event("ota.failed", BEGIN + timedelta(seconds=each))
        await hooks.attempt(await hooks.delivery(webhook, event), 1, status=500)
        await hooks.delivery(other, event)
    job, service = WebhookJob(hooks.world, webhook), Endings(ports)
    await hooks.call("DELETE", f"/{webhook}")
    await killed_and_repeated(monkeypatch, endings, point, nth, lambda: service.remove(job))
    assert await hooks.rows(webhook) == (0, 0, 0)
    assert await hooks.rows(other) == (1, EVENTS, 0)


@pytest.mark.parametrize(("point", "nth"), points("end-pending"))
async def test_a_killed_ending_is_finished_by_its_repetition(
    client: httpx.AsyncClient,
    tenant: Tenant,
    ports: Ports,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    nth: int,
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    events = [await hooks.event("ota.failed", BEGIN + timedelta(seconds=each)) for each in range(EVENTS)]
    arrived = await hooks.delivery(webhook, events[0], state="succeeded")
    for event in events[1:]:
        await hooks.delivery(webhook, event)
    job, service = WebhookJob(hooks.world, webhook), Endings(ports)
    await service.end_pending(job)  # it is enabled
    assert sorted((await hooks.states(webhook)).values()) == ["pending"] * (EVENTS - 1) + ["succeeded"]
    await hooks.call("PATCH", f"/{webhook}", {"status": "disabled"})
    await killed_and_repeated(monkeypatch, endings, point, nth, lambda: service.end_pending(job))
    states = await hooks.states(webhook)
    assert states.pop(arrived) == "succeeded"
    assert set(states.values()) == {"failed"}


async def test_a_webhook_that_is_not_deleted_keeps_its_row(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    await Endings(ports).remove(WebhookJob(hooks.world, webhook))
    assert await hooks.rows(webhook) == (1, 0, 0)


@pytest.mark.parametrize("entrypoint", [RECOVER, REMOVE, END_PENDING])
async def test_the_jobs_of_one_world_hold_up_no_other(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports, entrypoint: str
) -> None:
    """Each job of the first world waits for a lock, and the job of the other world was enqueued last."""
    many, other = Hooks(client, tenant, ports), Hooks(client, await make_tenant(ports), ports)
    range_ = {"since": BEGIN, "until": BEGIN + timedelta(hours=1)} if entrypoint == RECOVER else {}
    kind, waiting = (RecoveryJob if range_ else WebhookJob), [await many.add() for _ in range(6)]
    webhook = await other.add()
    if entrypoint != RECOVER:
        for hooks, each in (*((many, each) for each in waiting), (other, webhook)):
            await hooks.delivery(each, await hooks.event("ota.failed", BEGIN))
            if entrypoint == REMOVE:
                await hooks.call("DELETE", f"/{each}")
            else:
                await hooks.call("PATCH", f"/{each}", {"status": "disabled"})
    async with ports.database.transaction() as connection:
        await connection.execute("DELETE FROM jobs.pgqueuer")
        for hooks, each in (*((many, each) for each in waiting), (other, webhook)):
            await enqueue(connection, entrypoint, kind(hooks.world, each, **range_))
    patient = Database(ports.database.dsn, lock_seconds=600)
    await patient.open()
    patient_ports = replace(ports, database=patient)
    jobs = handlers(Endings(patient_ports), Recoveries(patient_ports))
    stop = asyncio.Event()
    worker = QueueWorker(
        QueueConnections(ports.database.dsn), ports.database, jobs, (), grace=60, lane=jobs[0].lane
    )
    async with ports.database.transaction() as lock:
        await lock.execute("SELECT FROM webhooks WHERE world_id = $1 FOR UPDATE", many.world)
        await lock.execute("SELECT FROM webhook_deliveries WHERE world_id = $1 FOR UPDATE", many.world)
        running = asyncio.create_task(worker.run(stop))
        while await other.queued(entrypoint):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)
        left = await many.queued(entrypoint)
        tries: int = await lock.fetchval("SELECT max(attempts) FROM jobs.pgqueuer")
    assert (left, tries) == (len(waiting), 0), "the other job came after a time limit"
    while await many.queued(entrypoint):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    stop.set()
    await running
    await patient.close()


@pytest.mark.parametrize(
    "path", ["/v1/events/{event}/resend", "/v1/webhooks/deliveries/{delivery}/redeliver"]
)
async def test_the_last_step_of_a_removal_waits_for_a_repetition_that_has_begun(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports, path: str
) -> None:
    """The repetition has found the webhook and waits for a batch of the removal. Then the last step comes."""
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    event = await hooks.event("ota.failed", BEGIN)
    delivery = await hooks.delivery(webhook, event, state="failed")
    async with ports.database.acquire() as batch, ports.database.acquire() as last:
        transaction = batch.transaction()
        await transaction.start()
        assert await ending_queries.delete_some(batch, hooks.world, webhook, BATCH) == 1
        repeated = asyncio.create_task(
            client.post(
                path.format(event=event, delivery=delivery),
                json={"webhook_id": webhook} if "resend" in path else None,
                headers=tenant.headers,
            )
        )
        await until_waiting(ports, 1)
        assert (await hooks.call("DELETE", f"/{webhook}")).status_code == 204
        removed = asyncio.create_task(ending_queries.delete_webhook(last, hooks.world, webhook))
        await until_waiting(ports, 2)
        await transaction.commit()
        answer = await repeated
        await removed
    assert answer.status_code == (202 if "resend" in path else 404), answer.text
    assert await hooks.rows(webhook) == (0, 0, 0)


async def test_a_recovery_stops_when_its_webhook_is_disabled(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhook = await hooks.add()
    await hooks.event("ota.failed", BEGIN)
    await hooks.call("PATCH", f"/{webhook}", {"status": "disabled"})
    await Recoveries(ports).recover(RecoveryJob(hooks.world, webhook, BEGIN, BEGIN + timedelta(hours=1)))
    assert await hooks.states(webhook) == {}


async def test_the_deliveries_about_a_deleted_end_user_go_in_batches_before_the_events(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    hooks = Hooks(client, tenant, ports)
    webhooks = [await hooks.add() for _ in range(3)]
    about = [await hooks.event("device.bound", BEGIN) for _ in range(2)]
    other = await hooks.event("device.bound", BEGIN)
    for webhook in webhooks:
        for event in (*about, other):
            await hooks.attempt(await hooks.delivery(webhook, event), 1, status=500)
    async with ports.database.acquire() as connection:
        await connection.execute("UPDATE events SET end_user_id = 'eu_gone' WHERE id = ANY($1)", about)
        erased = [await erase_some_deliveries(connection, hooks.world, "eu_gone", 4) for _ in range(3)]
        stranger = await erase_some_deliveries(connection, tenant.live_world, "eu_gone", 4)
    assert (erased, stranger) == ([4, 2, 0], 0)
    for webhook in webhooks:
        assert [event for event, _, _ in await hooks.by_event(webhook)] == [other]
        assert await hooks.rows(webhook) == (1, 1, 1)
