"""Deliveries over HTTP: what is shown, redelivery, recovery of a range of time, and test events."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lapel import app
from lapel.foundation.core.errors import Conflict, NotFound
from lapel.foundation.ports import Ports
from lapel.slices.webhooks.payloads import RECOVER, RecoveryJob, WebhookJob
from lapel.slices.webhooks.records.endings import Endings
from lapel.slices.webhooks.records.recoveries import Recoveries
from lapel.slices.webhooks.service import Webhooks
from tests.support.tenants import Tenant
from tests.webhooks.support import Hooks

BEGIN = datetime(2026, 1, 15, 12, tzinfo=UTC)
FIELDS = {
    "id", "webhook_id", "event_id", "event_type", "status", "attempt_count", "last_attempt_at",
    "response_status", "error", "next_attempt_at", "ended_at", "created_at",
}  # fmt: skip


@pytest.fixture
def hooks(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> Hooks:
    return Hooks(client, tenant, ports)


async def test_a_delivery_is_shown_with_its_attempts(hooks: Hooks) -> None:
    webhook = await hooks.add()
    event = await hooks.event("recording.uploaded", BEGIN)
    delivery = await hooks.delivery(webhook, event, state="pending", attempts=2)
    await hooks.attempt(delivery, 1, status=500, answer=b"caf\xc3\xa9 \xff\x00")
    await hooks.attempt(delivery, 2, error="timeout after 30 s")
    shown = await hooks.get(f"/{webhook}/deliveries/{delivery}")
    assert set(shown) == FIELDS | {"attempts"}
    assert (shown["event_id"], shown["event_type"]) == (event, "recording.uploaded")
    assert (shown["status"], shown["attempt_count"]) == ("pending", 2)
    assert (shown["response_status"], shown["error"]) == (None, "timeout after 30 s")
    second, first = shown["attempts"]
    assert (first["number"], first["response_status"], first["error"]) == (1, 500, None)
    assert first["response_body"] == "café \ufffd\ufffd"
    assert (second["number"], second["response_status"], second["response_body"]) == (2, None, None)
    (listed,) = (await hooks.get(f"/{webhook}/deliveries"))["data"]
    assert listed == {name: shown[name] for name in FIELDS}


async def test_no_answer_is_larger_than_1_mib_however_many_attempts_there_were(hooks: Hooks) -> None:
    webhook = await hooks.add()
    delivery = await hooks.delivery(webhook, await hooks.event("ota.failed", BEGIN), attempts=40)
    for number in range(1, 41):
        await hooks.attempt(delivery, number, status=500, answer=b"\x01" * 4096)
    answer = await hooks.client.get(
        f"/v1/webhooks/{webhook}/deliveries/{delivery}", headers=hooks.tenant.headers
    )
    assert len(answer.content) <= 2**20
    assert [each["number"] for each in answer.json()["attempts"]] == list(range(40, 10, -1))


async def test_deliveries_are_filtered_by_status_and_walked(hooks: Hooks) -> None:
    webhook, other = await hooks.add(), await hooks.add()
    made: dict[str, str] = {}
    for number in range(9):
        event = await hooks.event("ota.failed", BEGIN + timedelta(seconds=number))
        state = ("pending", "succeeded", "failed")[number % 3]
        made[await hooks.delivery(webhook, event, state=state, at=BEGIN + timedelta(seconds=number))] = state
        await hooks.delivery(other, event)
    newest = list(made)[::-1]
    assert [each["id"] for each in (await hooks.get(f"/{webhook}/deliveries"))["data"]] == newest
    for state in ("pending", "succeeded", "failed"):
        listed = (await hooks.get(f"/{webhook}/deliveries", status=state))["data"]
        assert [each["id"] for each in listed] == [each for each in newest if made[each] == state]
    walked: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await hooks.get(f"/{webhook}/deliveries", limit=2, cursor=cursor)
        walked += [each["id"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert walked == newest
    refused = await hooks.client.get(
        f"/v1/webhooks/{webhook}/deliveries?status=lost", headers=hooks.tenant.headers
    )
    assert refused.status_code == 400


async def test_the_delivery_of_an_event_is_found(hooks: Hooks) -> None:
    webhook, other = await hooks.add(), await hooks.add()
    events = [await hooks.event("ota.failed", BEGIN + timedelta(seconds=each)) for each in range(3)]
    wanted, _ = [await hooks.delivery(webhook, each, state="failed") for each in events[:2]]
    await hooks.delivery(other, events[2])
    for query, found in (
        ({"event_id": events[0]}, [wanted]),
        ({"event_id": events[0], "status": "failed"}, [wanted]),
        ({"event_id": events[0], "status": "pending"}, []),
        ({"event_id": events[2]}, []),
        ({"event_id": "evt_none"}, []),
    ):
        page = await hooks.get(f"/{webhook}/deliveries", **query)
        assert [each["id"] for each in page["data"]] == found, query
        assert (page["has_more"], page["next_cursor"]) == (False, None)


async def test_a_delivery_belongs_to_its_webhook_and_goes_with_it(hooks: Hooks, ports: Ports) -> None:
    webhook, other = await hooks.add(), await hooks.add()
    delivery = await hooks.delivery(webhook, await hooks.event("ota.failed", BEGIN))
    await hooks.attempt(delivery, 1, status=500)
    for method, path in (
        ("GET", f"/{other}/deliveries/{delivery}"),
        ("POST", f"/{other}/deliveries/{delivery}/redeliver"),
    ):
        assert (await hooks.call(method, path)).status_code == 404
    assert (await hooks.call("DELETE", f"/{webhook}")).status_code == 204
    for method, path in (
        ("GET", f"/{webhook}/deliveries"),
        ("GET", f"/{webhook}/deliveries/{delivery}"),
        ("POST", f"/{webhook}/deliveries/{delivery}/redeliver"),
        ("POST", f"/deliveries/{delivery}/redeliver"),
        ("POST", f"/{webhook}/recover"),
        ("POST", f"/{webhook}/test"),
    ):
        body = {"since": "2026-01-15T12:00:00Z", "type": "ota.failed"}
        assert (await hooks.call(method, path, body)).status_code == 404, path
    await app.open_services(ports)[Endings].remove(WebhookJob(hooks.world, webhook))
    assert await hooks.rows(webhook) == (0, 0, 0)
    assert await hooks.rows(other) == (1, 0, 0)


@pytest.mark.parametrize("state", ["pending", "succeeded", "failed"])
async def test_a_redelivery_is_due_now_with_a_new_schedule(hooks: Hooks, state: str) -> None:
    webhook = await hooks.add()
    delivery = await hooks.delivery(webhook, await hooks.event("ota.failed", BEGIN), state=state, attempts=8)
    for path in (f"/{webhook}/deliveries/{delivery}/redeliver", f"/deliveries/{delivery}/redeliver"):
        answer = await hooks.call("POST", path)
        assert answer.status_code == 202
        shown = answer.json()
        assert (shown["id"], shown["status"], shown["attempt_count"]) == (delivery, "pending", 8)
        assert shown["ended_at"] is None
        due = datetime.fromisoformat(shown["next_attempt_at"])
        assert abs(due - datetime.now(UTC)) < timedelta(minutes=5)
        assert await hooks.tries(delivery) == 0


async def test_a_disabled_webhook_gets_nothing_again_before_it_is_enabled(hooks: Hooks) -> None:
    webhook = await hooks.add()
    delivery = await hooks.delivery(webhook, await hooks.event("ota.failed", BEGIN), state="failed")
    await hooks.call("PATCH", f"/{webhook}", {"status": "disabled"})
    for path, body in (
        (f"/{webhook}/deliveries/{delivery}/redeliver", {}),
        (f"/{webhook}/recover", {"since": "2026-01-15T12:00:00Z"}),
        (f"/{webhook}/test", {"type": "ota.failed"}),
    ):
        refused = await hooks.call("POST", path, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        assert "status" in refused.json()["error"]["message"]
    assert await hooks.states(webhook) == {delivery: "failed"}


async def test_a_recovery_gives_what_did_not_arrive_and_nothing_twice(hooks: Hooks, ports: Ports) -> None:
    webhook = await hooks.add(events=["ota.failed"])
    at = [BEGIN + timedelta(seconds=each) for each in range(6)]
    early, arrived, failed, due, never, late = [await hooks.event("ota.failed", each) for each in at]
    await hooks.event("ota.applied", at[2])
    await hooks.event("ota.failed", at[2], test_for="wh_other")
    states = {arrived: "succeeded", failed: "failed", due: "pending"}
    before = {
        event: await hooks.delivery(webhook, event, state=state, attempts=3)
        for event, state in states.items()
    }
    body = {"since": "2026-01-15T13:00:01+01:00", "until": "2026-01-15T12:00:05Z"}
    answer = await hooks.call("POST", f"/{webhook}/recover", body)
    assert answer.status_code == 202
    assert answer.json() == {
        "webhook_id": webhook,
        "since": "2026-01-15T12:00:01.000Z",
        "until": "2026-01-15T12:00:05.000Z",
        "status": "processing",
        "queued": 0,
        "brought_forward": 0,
        "ended_at": None,
    }
    assert (await hooks.get(f"/{webhook}"))["recovery"] == answer.json()
    assert await hooks.queued(RECOVER) == 1
    job = RecoveryJob(hooks.world, webhook, at[1], at[5])
    found: dict[str, tuple[str, int]] = {}
    for _ in range(2):
        await app.open_services(ports)[Recoveries].recover(job)
        recovery = (await hooks.get(f"/{webhook}"))["recovery"]
        assert (recovery["status"], recovery["queued"], recovery["brought_forward"]) == ("completed", 2, 1)
        assert recovery["ended_at"] is not None
        found = {event: (state, tries) for event, state, tries in await hooks.by_event(webhook)}
        assert found == {
            arrived: ("succeeded", 3),
            failed: ("pending", 0),
            due: ("pending", 0),
            never: ("pending", 0),
        }
    assert {early, late}.isdisjoint(found)
    waiting = {each["event_id"]: each for each in (await hooks.get(f"/{webhook}/deliveries"))["data"]}
    brought = datetime.fromisoformat(waiting[due]["next_attempt_at"])
    assert brought - datetime.now(UTC) < timedelta(minutes=5)
    assert {before[each] for each in before} < set(await hooks.states(webhook))


async def test_a_webhook_has_one_recovery_at_a_time(hooks: Hooks, ports: Ports) -> None:
    webhook, other = await hooks.add(), await hooks.add()
    body = {"since": "2026-01-15T12:00:00Z", "until": "2026-01-15T13:00:00Z"}
    begun = await asyncio.gather(*(hooks.call("POST", f"/{webhook}/recover", body) for _ in range(4)))
    assert sorted(answer.status_code for answer in begun) == [202, 409, 409, 409]
    refused = next(answer.json()["error"] for answer in begun if answer.status_code == 409)
    assert refused["code"] == "conflict"
    assert refused["message"] == (
        "A recovery of this webhook has not ended yet. Repeat the request when it has: what arrived meanwhile"
        " is not delivered again."
    )
    assert (await hooks.call("POST", f"/{other}/recover", body)).status_code == 202
    assert await hooks.queued(RECOVER) == 2
    async with ports.database.acquire() as connection:  # as a worker does at the end of the job
        await connection.execute("DELETE FROM jobs.pgqueuer WHERE entrypoint = $1", RECOVER)
    assert (await hooks.call("POST", f"/{webhook}/recover", body)).status_code == 202


async def test_a_recovery_continues_over_many_batches(
    hooks: Hooks, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lapel.slices.webhooks.records.recoveries._BATCH", 3)
    webhook = await hooks.add()
    # Several events of one moment stand on both sides of a batch's end.
    events = [await hooks.event("ota.failed", BEGIN + timedelta(seconds=each // 4)) for each in range(10)]
    job = RecoveryJob(hooks.world, webhook, BEGIN, BEGIN + timedelta(hours=1))
    await app.open_services(ports)[Recoveries].recover(job)
    assert {event for event, _, _ in await hooks.by_event(webhook)} == set(events)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "since"),
        ({"since": "2026-01-15"}, "since"),
        ({"since": "2026-01-15T12:00:00"}, "since"),
        ({"since": "2026-01-15T12:00:00Z", "until": "2026-01-15T12:00:00Z"}, "since"),
        ({"since": "2222-01-15T12:00:00Z"}, "since"),
    ],
)
async def test_a_range_that_is_none_is_400(hooks: Hooks, body: dict[str, Any], param: str) -> None:
    refused = await hooks.call("POST", f"/{await hooks.add()}/recover", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


async def test_a_test_event_is_for_its_webhook_alone(hooks: Hooks, ports: Ports) -> None:
    webhook = await hooks.add(events=["recording.created"])
    answer = await hooks.call("POST", f"/{webhook}/test", {"type": "transcription.completed"})
    assert answer.status_code == 202
    sent = answer.json()
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow("SELECT body, test_for FROM events WHERE id = $1", sent["id"])
    assert row is not None
    assert (json.loads(row["body"]), row["test_for"]) == (sent, webhook)
    assert sent["data"]["project_id"] == hooks.tenant.project_id


@pytest.mark.parametrize("wanted", ["recording.eaten", "summary.begun", "*", ""])
async def test_a_type_that_is_not_published_is_400(hooks: Hooks, wanted: str) -> None:
    refused = await hooks.call("POST", f"/{await hooks.add()}/test", {"type": wanted})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "type")
    assert "recording.uploaded" in refused.json()["error"]["message"]


async def test_an_event_is_sent_again_to_all_webhooks_of_its_type_or_to_one(
    hooks: Hooks, ports: Ports
) -> None:
    every, typed, other, disabled = [
        await hooks.add(events=each) for each in (["*"], ["ota.failed"], ["ota.applied"], ["*"])
    ]
    await hooks.call("PATCH", f"/{disabled}", {"status": "disabled"})
    event = await hooks.event("ota.failed", BEGIN)
    arrived = await hooks.delivery(every, event, state="succeeded", attempts=1)
    service = app.open_services(ports)[Webhooks]
    async with ports.database.transaction() as connection:
        assert set(await service.resend(connection, hooks.actor, event)) == {every, typed}
    assert await hooks.states(every) == {arrived: "pending"}
    assert await hooks.by_event(typed) == [(event, "pending", 0)]
    async with ports.database.transaction() as connection:
        assert await service.resend(connection, hooks.actor, event, other) == [other]
        with pytest.raises(Conflict):
            await service.resend(connection, hooks.actor, event, disabled)
        for missing in (("evt_none", None), (event, "wh_none")):
            with pytest.raises(NotFound):
                await service.resend(connection, hooks.actor, *missing)
    assert await hooks.by_event(other) == [(event, "pending", 0)]
    assert await hooks.states(disabled) == {}
