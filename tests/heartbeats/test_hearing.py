"""What a heartbeat keeps of diagnostics, and what the device hears in its answer."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from lapel.foundation.core.disk_guard import DiskGuard
from tests.firmware.support import Fleet
from tests.heartbeats.support import Timed, Worn, worn
from tests.support.erasing import delete_rows
from tests.support.tenants import bearer


async def command(device: Worn, type_: str = "start_recording", **more: Any) -> dict[str, Any]:
    return await device.post("/commands", {"type": type_, **more}, 201)


async def report(device: Worn, command_id: str, status: str = "executed") -> None:
    path = f"/v1/devices/me/commands/{command_id}/ack"
    answer = await device.client.post(path, json={"status": status}, headers=bearer(device.token))
    assert answer.status_code == 200, answer.text


async def test_diagnostics_are_stored_once_and_acknowledged_each_time(device: Worn) -> None:
    first = {"event_id": "00000000000000aa", "code": 7, "nested": {"x": [None]}}
    second = {"event_id": "00000000000000BB", "text": "\N{GRINNING FACE}"}
    answer = await device.beat(diagnostics={"schema_version": 2, "events": [first, second]})
    assert answer["accepted_event_ids"] == ["00000000000000aa", "00000000000000BB"]
    again = await device.beat(
        diagnostics={
            "schema_version": 3,
            "events": [{**first, "code": 8}, {"event_id": "00000000000000bb"}, {"event_id": "c" * 16}] * 2,
        }
    )
    assert again["accepted_event_ids"] == ["00000000000000aa", "00000000000000bb", "c" * 16]
    assert await device.diagnostics() == [
        ("00000000000000aa", 2, first),
        ("00000000000000bb", 2, second),
        ("c" * 16, 3, {"event_id": "c" * 16}),
    ]


async def test_a_full_load_of_diagnostics_is_taken(device: Worn) -> None:
    events = [{"event_id": f"{number:016x}", "data": "x" * 3900} for number in range(256)]
    answer = await device.beat(diagnostics={"events": events})
    assert answer["accepted_event_ids"] == [each["event_id"] for each in events]
    assert len(await device.diagnostics()) == 256


async def test_with_a_full_disk_the_device_keeps_its_events(
    device: Worn, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await command(device, "trigger_upload")
    events = {"events": [{"event_id": "a" * 16}]}
    with monkeypatch.context() as full:
        full.setattr(DiskGuard, "low", lambda _: True)
        for state in ("idle", "recording"):
            answer = await device.beat(battery_percent=33, device_state=state, diagnostics=events)
            assert (answer["accepted_event_ids"], await device.diagnostics()) == ([], [])
            assert [each["id"] for each in answer["commands"]] == [told["id"]]
    assert (await device.row())["battery_percent"] == 33
    assert (await device.beat(diagnostics=events))["accepted_event_ids"] == ["a" * 16]


async def test_two_devices_may_use_the_same_event_ids(device: Worn) -> None:
    other = await worn(device.client, device.ports, device.tenant, "BEAT0002")
    for each in (device, other):
        await each.beat(diagnostics={"events": [{"event_id": "a" * 16, "of": each.id}]})
    for each in (device, other):
        assert await each.diagnostics() == [("a" * 16, None, {"event_id": "a" * 16, "of": each.id})]


async def test_diagnostics_go_with_the_end_user_and_with_the_device(device: Worn) -> None:
    await device.beat(
        diagnostics={"events": [{"event_id": "a" * 16}]}, client_context={"who": "x"}, battery_percent=50
    )
    gone = await device.client.delete(f"/v1/end-users/{device.person}", headers=device.tenant.headers)
    assert gone.status_code == 204
    await delete_rows(device.ports, device.tenant.test_world, device.person)
    assert await device.diagnostics() == []
    row = await device.row()
    assert (row["client_context"], row["heartbeat_slot"], row["battery_percent"]) == (None, None, 50)

    key = {"token": device.tenant.test_key, "device_id": device.id}
    kept = await device.send({"diagnostics": {"events": [{"event_id": "b" * 16}]}}, **key)
    assert kept.json()["accepted_event_ids"] == ["b" * 16]
    assert len(await device.diagnostics()) == 1
    gone = await device.client.delete(f"/v1/devices/{device.id}", headers=device.tenant.headers)
    assert gone.status_code == 204
    assert await device.diagnostics() == []


async def test_a_command_is_heard_until_it_is_reported(device: Worn) -> None:
    first = await command(device)
    second = await command(device, "trigger_upload")
    heard: list[dict[str, Any]] = []
    for _ in range(2):
        heard = (await device.beat())["commands"]
        assert [each["id"] for each in heard] == [first["id"], second["id"]]
        assert {each["status"] for each in heard} == {"delivered"}
        assert heard[0]["grant_token"] == first["grant_token"]
        assert jwt.decode(heard[0]["grant_token"], options={"verify_signature": False})["jti"] == first["id"]
    shown = await device.shown(f"/commands/{first['id']}")
    assert shown == heard[0]
    await report(device, first["id"])
    assert [each["id"] for each in (await device.beat())["commands"]] == [second["id"]]


async def test_an_expired_or_cancelled_command_is_not_heard(timed: Timed) -> None:
    device = timed.device
    cancelled = await command(device)
    await command(device, ttl_seconds=30)
    answer = await device.client.delete(
        f"/v1/devices/{device.id}/commands/{cancelled['id']}", headers=device.tenant.headers
    )
    assert answer.status_code == 200
    await timed.after(seconds=29)
    assert len((await device.beat())["commands"]) == 1
    await timed.after(seconds=1)
    assert (await device.beat())["commands"] == []


async def test_commands_of_another_device_or_binding_are_not_heard(device: Worn) -> None:
    other = await worn(device.client, device.ports, device.tenant, "BEAT0002")
    await command(device)
    assert (await other.beat())["commands"] == []
    await device.post("/unbind")
    await device.bind()
    assert (await device.beat())["commands"] == []


async def test_the_update_rides_along_until_it_is_applied(device: Worn, ports: Any) -> None:
    fleet = Fleet(device.client, device.tenant, ports)
    release = await fleet.released(version="2.0.0", model="bota_pin")
    await fleet.assign(device.id, release["id"])
    for _ in range(2):
        ota = (await device.beat(firmware_version="1.0.0"))["ota"]
        assert (ota["version"], ota["firmware_release_id"]) == ("2.0.0", release["id"])
        assert (await device.client.get(ota["download_url"])).content == b"firmware"
    assert (await fleet.current(device.id) or {})["status"] == "delivered"
    for _ in range(2):
        assert (await device.beat(firmware_version="2.0.0"))["ota"] is None
    assert [each["status"] for each in await fleet.history(device.id)] == ["applied"]
    assert [type_ for type_, _ in await fleet.events()] == ["ota.applied"]


async def test_a_failed_update_is_reported_with_the_heartbeat(device: Worn, ports: Any) -> None:
    fleet = Fleet(device.client, device.tenant, ports)
    release = await fleet.released(version="2.0.1", model="bota_pin")
    await fleet.assign(device.id, release["id"])
    ota = (await device.beat())["ota"]
    result = {"assignment_id": ota["assignment_id"], "status": "failed", "error_message": "flash worn out"}
    for _ in range(2):
        assert (await device.beat(ota_result=result))["ota"] is None
    (ended,) = await fleet.history(device.id)
    assert (ended["status"], ended["error_message"]) == ("failed", "flash worn out")
    assert [type_ for type_, _ in await fleet.events()] == ["ota.failed"]
    # Of an assignment that is another device's, or nobody's, nothing comes.
    await device.beat(ota_result={"assignment_id": "ota_none", "status": "failed"})


async def recording(device: Worn) -> dict[str, Any]:
    return (await device.shown("/state"))["recording"]


NOT_RECORDING = {"active": False, "recording_id": None, "started_at": None, "initiated_by": None}


async def test_a_recording_that_the_device_began_itself(timed: Timed) -> None:
    device = timed.device
    await device.beat(device_state="idle")
    assert await recording(device) == NOT_RECORDING
    old = await device.client.post(
        "/v1/recordings", json={"ended_at": "2026-01-15T12:00:00Z"}, headers=bearer(device.token)
    )
    await timed.after(minutes=1)
    await device.beat(device_state="recording")
    began = await recording(device)
    assert (began["active"], began["initiated_by"], began["recording_id"]) == (True, "local", None)
    assert old.status_code == 201
    made = await device.client.post("/v1/recordings", json={}, headers=bearer(device.token))
    for _ in range(2):
        await timed.after(minutes=1)
        await device.beat(device_state="recording", battery_percent=50)
        await device.beat(battery_percent=49)
        assert await recording(device) == {**began, "recording_id": made.json()["id"]}
    await device.beat(device_state="uploading")
    assert await recording(device) == NOT_RECORDING


async def test_a_recording_of_who_wore_the_device_before_is_not_named(device: Worn) -> None:
    async def made() -> str:
        answer = await device.client.post("/v1/recordings", json={}, headers=bearer(device.token))
        return answer.json()["id"]

    await made()
    await device.post("/unbind")
    key = {"token": device.tenant.test_key, "device_id": device.id}
    await device.send({"device_state": "recording"}, **key)
    assert (await recording(device))["recording_id"] is None
    other = await device.client.post("/v1/end-users", headers=device.tenant.headers)
    device.person = other.json()["id"]
    await device.bind()
    await device.beat(device_state="recording")
    assert (await recording(device))["recording_id"] is None
    own = await made()
    await device.beat(device_state="recording")
    assert (await recording(device))["recording_id"] == own


async def test_a_recording_that_is_deleted_meanwhile_is_named_no_more(device: Worn) -> None:
    made = await device.client.post("/v1/recordings", json={}, headers=bearer(device.token))
    path = f"/v1/recordings/{made.json()['id']}"
    await device.beat(device_state="recording")
    began = await recording(device)
    assert began["recording_id"] == made.json()["id"]
    assert (await device.client.delete(path, headers=device.tenant.headers)).status_code == 204
    assert await recording(device) == {**began, "recording_id": None}


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_a_recording_that_a_command_began(timed: Timed, acknowledged: bool) -> None:
    device = timed.device
    await device.beat(device_state="idle")
    told = await command(device)
    await timed.after(minutes=1)
    assert len((await device.beat(device_state="idle"))["commands"]) == 1
    if acknowledged:
        await report(device, told["id"])
    await timed.after(minutes=1)
    await device.beat(device_state="recording")
    assert (await recording(device))["initiated_by"] == "remote"
    await timed.after(minutes=1)
    await device.beat(device_state="idle")
    # The next one is the device's own again: no command was taken up since.
    assert (await device.shown(f"/commands/{told['id']}"))["status"] == "executed"
    await timed.after(minutes=1)
    await device.beat(device_state="idle")
    await timed.after(minutes=1)
    await device.beat(device_state="recording")
    assert (await recording(device))["initiated_by"] == "local"


async def test_unbinding_ends_what_was_told_of_the_wearer(device: Worn) -> None:
    await device.beat(device_state="recording", client_context={"x": 1})
    await device.post("/unbind")
    assert await recording(device) == NOT_RECORDING
    assert (await device.row())["client_context"] is None
