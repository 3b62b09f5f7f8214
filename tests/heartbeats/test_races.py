"""Heartbeats that meet other requests, in exactly the order that could go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import httpx

from tests.heartbeats.support import HOLD, Worn, held
from tests.support.locks import until_waiting
from tests.support.tenants import bearer


async def in_order(device: Worn, *requests: Awaitable[httpx.Response]) -> list[int]:
    """Their statuses, when each waits for the device's row behind the one before."""
    tasks: list[asyncio.Task[httpx.Response]] = []
    async with held(device):
        for number, request in enumerate(requests, start=1):
            tasks.append(asyncio.ensure_future(request))
            await until_waiting(device.ports, number)
    return [(await task).status_code for task in tasks]


def unbind(device: Worn) -> Awaitable[httpx.Response]:
    return device.client.post(f"/v1/devices/{device.id}/unbind", headers=device.tenant.headers)


def refresh(device: Worn, token: str) -> Awaitable[httpx.Response]:
    return device.client.post("/v1/devices/me/token/refresh", headers=bearer(token))


async def test_a_heartbeat_that_waits_behind_an_unbinding_is_refused_and_changes_nothing(
    device: Worn,
) -> None:
    events = {"events": [{"event_id": "a" * 16}]}
    await device.post("/commands", {"type": "trigger_upload"}, 201)
    beat = device.send({"battery_percent": 3, "diagnostics": events})
    assert await in_order(device, unbind(device), beat) == [200, 401]
    row = await device.row()
    assert (row["battery_percent"], row["last_heartbeat_at"], row["heartbeat_slot"]) == (None, None, None)
    assert await device.diagnostics() == []
    assert await device.events("device.low_battery") == []


async def test_a_heartbeat_that_comes_before_an_unbinding_is_taken(device: Worn) -> None:
    assert await in_order(device, device.send({"battery_percent": 3}), unbind(device)) == [200, 200]
    row = await device.row()
    assert (row["battery_percent"], row["heartbeat_slot"], row["offline_since"]) == (3, None, None)


async def test_a_heartbeat_of_an_older_binding_is_refused_behind_the_next_one(device: Worn) -> None:
    """Unbound and bound to somebody else, while the heartbeat waited with what it had read before."""
    old = device.token
    task: asyncio.Task[httpx.Response]
    async with device.ports.database.transaction() as connection:
        await connection.execute(HOLD, device.tenant.test_world, device.id)
        task = asyncio.ensure_future(device.send({"battery_percent": 3}, token=old))
        await until_waiting(device.ports, 1)
        # Both at once, as one transaction: the heartbeat finds a bound row when its turn comes.
        await connection.execute(
            "UPDATE devices SET binding_generation = binding_generation + 1 WHERE world_id = $1 AND id = $2",
            device.tenant.test_world,
            device.id,
        )
    assert (await task).status_code == 401
    assert (await device.row())["battery_percent"] is None


async def test_the_first_use_of_a_refreshed_token_may_be_a_heartbeat(device: Worn) -> None:
    old = device.token
    first = (await refresh(device, old)).json()["device_token"]
    assert (await device.send({}, token=old)).status_code == 401
    fresh = (await refresh(device, old)).json()["device_token"]  # the first answer was lost
    assert (await device.send({}, token=first)).status_code == 401
    for _ in range(2):
        assert (await device.send({"battery_percent": 9}, token=fresh)).status_code == 200
    assert (await refresh(device, old)).status_code == 401
    assert (await device.send({}, token=old)).status_code == 401
    assert len(await device.events("device.low_battery")) == 1


async def test_a_heartbeat_behind_a_refresh_does_no_harm(device: Worn) -> None:
    """It began while its token was good, and is answered either way; the next one with it is not."""
    old = device.token
    refreshed, beat = await in_order(device, refresh(device, old), device.send({"battery_percent": 50}))
    assert refreshed == 200
    assert beat in (200, 401)
    assert (await device.send({}, token=old)).status_code == 401


async def test_many_first_uses_at_once_all_succeed(device: Worn) -> None:
    fresh = (await refresh(device, device.token)).json()["device_token"]
    answers = await asyncio.gather(*(device.send({"battery_percent": 50}, token=fresh) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}


async def test_two_heartbeats_at_once_both_hear_and_nothing_is_twice(device: Worn) -> None:
    told = await device.post("/commands", {"type": "trigger_upload"}, 201)
    events = {"events": [{"event_id": f"{number:016x}"} for number in range(20)]}
    body = {"battery_percent": 5, "diagnostics": events}
    key = device.tenant.headers["Authorization"].removeprefix("Bearer ")
    beats = [device.send(body), *(device.send(body, token=key, device_id=device.id) for _ in range(4))]
    async with held(device):
        tasks = [asyncio.ensure_future(beat) for beat in beats]
        await until_waiting(device.ports, len(tasks))
    answers = [(await task).json() for task in tasks]
    for answer in answers:
        assert [each["id"] for each in answer["commands"]] == [told["id"]]
        assert answer["accepted_event_ids"] == [each["event_id"] for each in events["events"]]
    assert len(await device.diagnostics()) == 20
    assert len(await device.events("device.low_battery")) == 1
    shown = await device.shown(f"/commands/{told['id']}")
    assert {each["delivered_at"] for answer in answers for each in answer["commands"]} == {
        shown["delivered_at"]
    }


async def test_a_cancelled_command_is_not_heard_behind_its_cancelling(device: Worn) -> None:
    """Settled by the command's row: who comes first decides, and both agree."""
    for _ in range(5):
        told = await device.post("/commands", {"type": "trigger_upload"}, 201)
        cancel = device.client.delete(
            f"/v1/devices/{device.id}/commands/{told['id']}", headers=device.tenant.headers
        )
        beat, cancelled = await asyncio.gather(device.send(), cancel)
        heard = told["id"] in [each["id"] for each in beat.json()["commands"]]
        assert cancelled.status_code == (409 if heard else 200)
        if heard:
            path = f"/v1/devices/me/commands/{told['id']}/ack"
            await device.client.post(path, json={"status": "executed"}, headers=bearer(device.token))


async def test_a_repeat_after_a_lost_answer_does_nothing_twice(device: Worn) -> None:
    await device.post("/commands", {"type": "start_recording"}, 201)
    body = {
        "battery_percent": 7,
        "device_name": "Mine",
        "diagnostics": {"schema_version": 1, "events": [{"event_id": "a" * 16}]},
    }
    first = await device.beat(**body)
    before = await device.row()
    again = await device.beat(**body)
    assert again == first
    assert len(await device.events("device.low_battery")) == 1
    assert len(await device.diagnostics()) == 1
    after = await device.row()
    changed = {name for name in before.keys() if before[name] != after[name]}  # noqa: SIM118 - a Record
    assert changed <= {"last_heartbeat_at", "last_seen_at"}
