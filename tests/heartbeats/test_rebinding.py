"""A device that gets another wearer: its reports about the wearer before end with the binding."""

from __future__ import annotations

import asyncio
import io
import zipfile
from typing import Any

import httpx
import msgspec
import pytest

from lapel.slices.devices.service import begin_low_battery
from tests.heartbeats.support import Worn, held
from tests.support.locks import until_waiting
from tests.support.tenants import bearer

REPORTED = {
    "battery_percent": 40,
    "storage_used_mb": 60,
    "storage_total_mb": 100,
    "signal_strength_dbm": -70,
    "firmware_version": "1.4.2",
    "device_state": "recording",
    "pending_recordings": 2,
    "flags": 9,
    "connection_type": ["wifi"],
    "client_context": {"room": "12"},
}
NUMBERS = ("battery_percent", "storage_used_mb", "storage_total_mb", "signal_strength_dbm")
SHOWN = (*NUMBERS, "recording_state", "last_heartbeat_at", "last_seen_at", "last_synced_at")
ACTIVE = ("active_since", "active_recording_id", "initiated_by")
SYNCED = "UPDATE devices SET last_synced_at = $3 WHERE world_id = $1 AND id = $2"
FORGET_EPISODE = "UPDATE devices SET low_battery_since = NULL WHERE world_id = $1 AND id = $2"
LATER_REPORT = """
UPDATE devices SET last_heartbeat_at = last_heartbeat_at + interval '30 seconds',
    last_seen_at = last_seen_at + interval '30 seconds'
WHERE world_id = $1 AND id = $2
"""
LATER_BINDING = (
    "UPDATE devices SET bound_at = bound_at + interval '30 seconds' WHERE world_id = $1 AND id = $2"
)
UNREPORTED = {"device_state": None, "pending_recordings": 0, "flags": None, "connection_type": []}


async def rebind(device: Worn) -> None:
    """Give the device to another end user."""
    await device.post("/unbind")
    await bind_to_another(device)


async def bind_to_another(device: Worn) -> None:
    """Bind an unbound device to a new end user."""
    made = await device.client.post("/v1/end-users", headers=device.tenant.headers)
    device.person = made.json()["id"]
    await device.bind()


async def seen_by_wearer(device: Worn, what: str = "") -> dict[str, Any]:
    """The device, or its `/state`, as its end user reads it."""
    path = f"/v1/end-users/{device.person}/token"
    issued = await device.client.post(path, json={}, headers=device.tenant.headers)
    answer = await device.client.get(f"/v1/devices/{device.id}{what}", headers=bearer(issued.json()["token"]))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def beat(device: Worn, by: str, **body: Any) -> None:
    """A heartbeat: of the device, or that a key passes on."""
    if by == "device":
        await device.beat(**body)
        return
    answer = await device.send(body, token=device.tenant.test_key, device_id=device.id)
    assert answer.status_code == 200, answer.text


async def exported(device: Worn, person: str) -> dict[str, Any]:
    """The files about devices in an end user's export."""
    path = f"/v1/end-users/{person}/export"
    answer = await device.client.post(path, headers=device.tenant.headers)
    assert answer.status_code == 200, answer.text
    files = zipfile.ZipFile(io.BytesIO(answer.content))
    return {name: msgspec.json.decode(files.read(name)) for name in ("events.json", "device_states.json")}


@pytest.mark.parametrize("by", ["device", "key"])
@pytest.mark.parametrize(
    ("first", "state"),
    [
        ({}, None),
        ({"flags": 1}, {**UNREPORTED, "flags": 1}),
        ({"device_state": "recording"}, {**UNREPORTED, "device_state": "recording"}),
        ({"diagnostics": {"events": [{"event_id": "0" * 16}]}}, None),
    ],
)
async def test_the_first_heartbeat_keeps_nothing_of_the_wearer_before(
    device: Worn, by: str, first: dict[str, Any], state: dict[str, Any] | None
) -> None:
    await device.beat(**REPORTED)
    await rebind(device)
    await beat(device, by, **first)
    shown = await device.shown()
    assert [shown[name] for name in NUMBERS] == [None] * 4
    assert shown["recording_state"] == state
    assert shown["firmware_version"] == "1.4.2"  # the device's own
    row = await device.row()
    assert row["client_context"] is None
    began = row["last_heartbeat_at"] if "device_state" in first else None
    assert (row["active_since"], row["active_recording_id"]) == (began, None)
    # What this binding reported is kept from now on.
    await beat(device, by, **REPORTED)
    await beat(device, by)
    shown = await device.shown()
    assert {name: shown[name] for name in NUMBERS} == {name: REPORTED[name] for name in NUMBERS}
    assert shown["recording_state"]["flags"] == 9


async def test_a_heartbeat_that_waits_for_its_row_keeps_nothing_either(device: Worn) -> None:
    """It has a statement of its own."""
    await device.beat(**REPORTED)
    await rebind(device)
    async with held(device):
        waiting = asyncio.ensure_future(device.send())
        await until_waiting(device.ports, 1)
    assert (await waiting).status_code == 200
    shown = await device.shown()
    assert [shown[name] for name in (*NUMBERS, "recording_state")] == [None] * 5


async def test_what_an_unbound_device_reports_stays_until_it_is_bound(device: Worn) -> None:
    await device.beat(**REPORTED)
    await device.post("/unbind")
    await beat(device, "key", battery_percent=30)
    shown = await device.shown()
    assert {name: shown[name] for name in NUMBERS} == {
        **{name: REPORTED[name] for name in NUMBERS},
        "battery_percent": 30,
    }
    await beat(device, "key", **REPORTED)
    await bind_to_another(device)
    assert (await device.shown("/state"))["recording"]["active"] is True  # the project sees it
    assert (await seen_by_wearer(device, "/state"))["recording"] == {
        "active": False, "recording_id": None, "started_at": None, "initiated_by": None,
    }  # fmt: skip
    await device.beat()
    row = await device.row()
    nothing = (*NUMBERS, *ACTIVE, "recording_state", "client_context")
    assert [row[name] for name in nothing] == [None] * len(nothing)


async def change(device: Worn, statement: str) -> None:
    async with device.ports.database.acquire() as connection:
        await connection.execute(statement, device.tenant.test_world, device.id)


async def test_a_binding_begins_after_the_reports_of_a_server_whose_clock_is_ahead(device: Worn) -> None:
    await device.beat(**REPORTED)
    await change(device, LATER_REPORT)
    await rebind(device)
    (bound,) = [event["data"] for event in await device.events("device.bound")][1:]
    for seen in (bound, await seen_by_wearer(device)):
        assert [seen[name] for name in (*NUMBERS, "last_heartbeat_at")] == [None] * 5
    await device.beat()
    assert [(await device.shown())[name] for name in NUMBERS] == [None] * 4


async def test_heartbeats_to_a_server_whose_clock_is_behind_are_of_the_binding(device: Worn) -> None:
    await change(device, LATER_BINDING)
    for body in ({"battery_percent": 10}, {"signal_strength_dbm": -70}):
        await device.beat(**body)
    (low,) = [event["data"] for event in await device.events("device.low_battery")]
    assert low["battery_percent"] == 10
    assert (await seen_by_wearer(device))["battery_percent"] == 10


async def test_the_end_of_an_end_user_tells_nothing_of_the_wearer_before(device: Worn) -> None:
    await device.beat(**REPORTED)
    await rebind(device)
    path = f"/v1/end-users/{device.person}"
    assert (await device.client.delete(path, headers=device.tenant.headers)).status_code == 204
    told = [event["data"] for event in await device.events("device.unbound")]
    assert [told[-1][name] for name in NUMBERS] == [None] * 4


async def test_a_battery_that_stays_low_is_told_to_each_wearer(device: Worn) -> None:
    first = device.person
    await device.beat(battery_percent=10)
    await rebind(device)
    await device.beat()  # does not say how full it is
    assert len(await device.events("device.low_battery")) == 1
    for percent in (14, 10):
        await device.beat(battery_percent=percent)
    told = [event["data"] for event in await device.events("device.low_battery")]
    assert [data["end_user_id"] for data in told] == [first, device.person]
    assert [data["battery_percent"] for data in told] == [10, 14]


async def test_the_low_battery_of_an_earlier_wearer_begins_nothing_in_the_next_binding(
    device: Worn,
) -> None:
    """A heartbeat begins the episode in a transaction of its own, and the device may be rebound before."""
    await device.beat(battery_percent=40)
    await rebind(device)
    await device.beat(battery_percent=10)
    world, now = device.tenant.test_world, device.ports.clock.now()
    async with device.ports.database.transaction() as connection:
        await connection.execute(FORGET_EPISODE, world, device.id)
        assert not await begin_low_battery(connection, world, device.id, 1, now)
        assert await begin_low_battery(connection, world, device.id, 2, now)


async def test_events_and_the_export_of_a_wearer_have_no_report_about_the_wearer_before(
    device: Worn,
) -> None:
    await device.beat(**REPORTED)
    async with device.ports.database.acquire() as connection:
        await connection.execute(SYNCED, device.tenant.test_world, device.id, device.ports.clock.now())
    first = await device.shown()
    await rebind(device)  # this wearer's device never reports
    second = device.person
    shown = await device.shown()
    assert {name: shown[name] for name in SHOWN} == {name: first[name] for name in SHOWN}
    await rebind(device)
    await device.beat(battery_percent=3)

    nothing = dict.fromkeys(SHOWN)
    bound, unbound = (await device.events("device.bound"))[1:], await device.events("device.unbound")
    assert {name: unbound[0]["data"][name] for name in SHOWN} == {name: first[name] for name in SHOWN}
    for event in (*bound, unbound[1]):
        for data in (event["data"], event["data"]["device"]):
            assert {name: data[name] for name in SHOWN} == nothing
    (low,) = await device.events("device.low_battery")
    shown = await device.shown()
    reported = {name: shown[name] for name in ("battery_percent", "last_heartbeat_at", "last_seen_at")}
    assert {name: low["data"][name] for name in SHOWN} == {**nothing, **reported}

    exports = {person: await exported(device, person) for person in (second, device.person)}
    assert [event["id"] for event in exports[second]["events.json"]] == [bound[0]["id"], unbound[1]["id"]]
    assert [event["id"] for event in exports[device.person]["events.json"]] == [bound[1]["id"], low["id"]]
    assert exports[second]["device_states.json"] == []
    (report,) = exports[device.person]["device_states.json"]
    assert report["client_context"] is None
    assert report["state"]["recording"]["active"] is False
    assert report["state"]["last_synced_at"] is None


async def test_a_recording_under_way_stays_with_its_wearer(device: Worn) -> None:
    async def as_device(path: str) -> httpx.Response:
        return await device.client.post(f"/v1/recordings{path}", json={}, headers=bearer(device.token))

    first = (await as_device("")).json()["id"]
    await device.beat(device_state="recording")
    assert (await device.shown("/state"))["recording"]["recording_id"] == first
    await rebind(device)
    assert (await device.shown("/state"))["recording"]["active"] is False
    await device.beat(device_state="recording")
    now = (await device.shown("/state"))["recording"]
    assert (now["active"], now["recording_id"], now["initiated_by"]) == (True, None, "local")
    assert now["started_at"] == (await device.shown())["last_heartbeat_at"]
    assert (await as_device(f"/{first}/upload-url")).status_code == 404
    second = (await as_device("")).json()["id"]
    await device.beat(device_state="recording")
    assert (await seen_by_wearer(device, "/state"))["recording"]["recording_id"] == second
