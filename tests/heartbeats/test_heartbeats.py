"""What a heartbeat takes, keeps and answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from lapel.foundation.identity.tokens import new_token
from lapel.foundation.ports import Ports
from lapel.slices.heartbeats.service import Heartbeats
from lapel.slices.heartbeats.wire import HeartbeatBody
from tests.heartbeats.support import Worn, worn
from tests.support.declared import authenticator
from tests.support.running import Running
from tests.support.tenants import Tenant, bearer, make_key

FULL: dict[str, Any] = {
    "battery_percent": 77,
    "storage_used_mb": 1200,
    "storage_total_mb": 32000,
    "signal_strength_dbm": -67,
    "firmware_version": "1.4.2",
    "device_name": "  Front desk ",
    "device_state": "idle",
    "pending_recordings": 2,
    "flags": 9,
    "connection_type": ["wifi", "ble"],
    "client_context": {"app": "2.1", "deep": [1, {"x": None}]},
}


async def test_an_empty_heartbeat_is_one(device: Worn) -> None:
    assert await device.beat() == {
        "status": "ok",
        "commands": [],
        "ota": None,
        "config_revision": (await device.row())["config_revision"],
        "accepted_event_ids": [],
    }
    state = await device.shown("/state")
    assert (state["online"], state["last_seen_by"]) == (True, None)


async def test_all_that_is_told_is_kept(device: Worn) -> None:
    before = await device.shown()
    await device.beat(**FULL)
    shown = await device.shown()
    for name in (
        "battery_percent", "storage_used_mb", "storage_total_mb", "signal_strength_dbm", "firmware_version",
    ):  # fmt: skip
        assert shown[name] == FULL[name]
    assert shown["name"] == FULL["device_name"]  # exactly
    assert shown["recording_state"] == {
        "device_state": "idle", "pending_recordings": 2, "flags": 9, "connection_type": ["wifi", "ble"],
    }  # fmt: skip
    assert shown["last_heartbeat_at"] == shown["last_seen_at"] is not None
    assert json.loads((await device.row())["client_context"]) == FULL["client_context"]
    status = (await device.shown("/settings"))["current_status"]
    for name in ("battery_percent", "storage_used_mb", "storage_total_mb", "signal_strength_dbm"):
        assert status[name] == (await device.shown("/state"))[name] == FULL[name]
    assert shown["updated_at"] > before["updated_at"]
    assert set(shown) == set(before)


async def test_what_is_left_out_or_null_stays(device: Worn) -> None:
    await device.beat(**FULL)
    before = await device.shown()
    await device.beat(**dict.fromkeys(FULL))
    await device.beat(flags=0)
    after = await device.shown()
    assert after.pop("recording_state") == {**before.pop("recording_state"), "flags": 0}
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"last_heartbeat_at", "last_seen_at"}  # not even `updated_at`


async def test_a_first_partial_report_has_every_field(device: Worn) -> None:
    await device.beat(pending_recordings=0)
    assert (await device.shown())["recording_state"] == {
        "device_state": None, "pending_recordings": 0, "flags": None, "connection_type": [],
    }  # fmt: skip
    other = await worn(device.client, device.ports, device.tenant, "BEAT0003")
    await other.beat(flags=1)
    assert (await other.shown())["recording_state"] == {
        "device_state": None, "pending_recordings": 0, "flags": 1, "connection_type": [],
    }  # fmt: skip


@pytest.mark.parametrize("own", ["me", "id"])
async def test_a_device_names_itself_either_way(device: Worn, own: str) -> None:
    answer = await device.send({"battery_percent": 50}, device_id="me" if own == "me" else device.id)
    assert answer.status_code == 200
    assert (await device.shown())["battery_percent"] == 50


async def test_a_device_may_not_speak_for_another(
    device: Worn, client: httpx.AsyncClient, ports: Ports, tenant: Tenant
) -> None:
    other = await worn(client, ports, tenant, "BEAT0002")
    for device_id in (other.id, "dev_none", "med"):
        answer = await device.send({"battery_percent": 1}, device_id=device_id)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert (await other.row())["battery_percent"] is None
    assert (await device.row())["last_heartbeat_at"] is None


async def test_a_key_may_speak_for_a_device(
    device: Worn, client: httpx.AsyncClient, ports: Ports, tenant: Tenant, stranger: Tenant
) -> None:
    world = tenant.test_world
    writer = await make_key(ports, world, "rk_test", scopes=("devices:write",))
    assert (await device.send({"battery_percent": 40}, token=writer, device_id=device.id)).status_code == 200
    assert (await device.shown())["battery_percent"] == 40
    assert (await device.shown("/state"))["last_seen_by"] == "ble"

    reader = await make_key(ports, world, "rk_test", scopes=("devices:read",))
    scoped = await make_key(ports, world, "rk_test", end_user_id=device.person)
    for token, device_id, status in (
        (reader, device.id, 403),
        (scoped, device.id, 403),
        (writer, "me", 404),
        (writer, "dev_none", 404),
        (stranger.test_key, device.id, 404),
        (tenant.live_key, device.id, 404),
        (new_token("dtok"), device.id, 401),
        (device.token[:-1] + ("a" if device.token[-1] != "a" else "b"), device.id, 401),
    ):
        answer = await device.send({}, token=token, device_id=device_id)
        assert answer.status_code == status, (token, device_id)
    upload = await client.post("/v1/recordings", json={}, headers=bearer(device.token))
    asked = await client.post(
        f"/v1/recordings/{upload.json()['id']}/upload-url", json={}, headers=bearer(device.token)
    )
    answer = await device.send({}, token=asked.json()["upload_token"])
    assert answer.status_code == 403
    assert (
        answer.json()["error"]["message"] == "This route takes a key or a device token, not an upload token."
    )
    answer = await device.send({}, token=writer, device_id="me")
    assert "name the device by its id" in answer.json()["error"]["message"]


async def test_an_unbound_device_is_heard_by_key_only(device: Worn) -> None:
    await device.post("/unbind")
    assert (await device.send({"battery_percent": 5})).status_code == 401
    answer = await device.send({"battery_percent": 5}, token=device.tenant.test_key, device_id=device.id)
    assert answer.status_code == 200
    row = await device.row()
    assert (row["battery_percent"], row["heartbeat_slot"]) == (5, None)
    gone = await device.client.delete(f"/v1/devices/{device.id}", headers=device.tenant.headers)
    assert gone.status_code == 204
    answer = await device.send({}, token=device.tenant.test_key, device_id=device.id)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"flags": 256}, "flags"),
        ({"flags": -1}, "flags"),
        ({"flags": 1.5}, "flags"),
        ({"battery_percent": 101}, "battery_percent"),
        ({"battery_percent": -1}, "battery_percent"),
        ({"battery_percent": "80"}, "battery_percent"),
        ({"battery_percent": True}, "battery_percent"),
        ({"storage_used_mb": -1}, "storage_used_mb"),
        ({"storage_total_mb": 2**63}, "storage_total_mb"),
        ({"signal_strength_dbm": 2**31}, "signal_strength_dbm"),
        ({"firmware_version": "x" * 33}, "firmware_version"),
        ({"firmware_version": "1\0"}, "firmware_version"),
        ({"device_name": "x" * 65}, "device_name"),
        ({"device_name": "\N{GRINNING FACE}" * 33}, "device_name"),
        ({"device_state": "x" * 33}, "device_state"),
        ({"device_state": "\N{GRINNING FACE}" * 17}, "device_state"),
        ({"device_state": 1}, "device_state"),
        ({"firmware_version": "\N{GRINNING FACE}" * 17}, "firmware_version"),
        ({"pending_recordings": -1}, "pending_recordings"),
        ({"connection_type": ["wifi", "x" * 17]}, "connection_type[1]"),
        ({"connection_type": ["\N{GRINNING FACE}" * 9]}, "connection_type[0]"),
        ({"connection_type": [5]}, "connection_type[0]"),
        ({"connection_type": ["wifi"] * 17}, "connection_type"),
        ({"connection_type": "wifi"}, "connection_type"),
        ({"client_context": {"x": "y" * 17_000}}, "client_context"),
        ({"client_context": {"x": "\0"}}, "client_context.x"),
        ({"diagnostics": []}, "diagnostics"),
        ({"diagnostics": {"schema_version": "1"}}, "diagnostics.schema_version"),
        ({"diagnostics": {"events": [{}] * 257}}, "diagnostics.events"),
        ({"diagnostics": {"events": ["x"]}}, "diagnostics.events[0]"),
        ({"diagnostics": {"events": [{}]}}, "diagnostics.events[0].event_id"),
        ({"diagnostics": {"events": [{"event_id": "0" * 15}]}}, "diagnostics.events[0].event_id"),
        ({"diagnostics": {"events": [{"event_id": "0" * 17}]}}, "diagnostics.events[0].event_id"),
        ({"diagnostics": {"events": [{"event_id": "g" * 16}]}}, "diagnostics.events[0].event_id"),
        ({"diagnostics": {"events": [{"event_id": "0" * 16 + "\n"}]}}, "diagnostics.events[0].event_id"),
        ({"diagnostics": {"events": [{"event_id": 1234}]}}, "diagnostics.events[0].event_id"),
        ({"diagnostics": {"events": [{"event_id": "0" * 16, "x": "y" * 5000}]}}, "diagnostics.events[0]"),
        ({"ota_result": {"assignment_id": "ota_1", "status": "applied"}}, "ota_result.status"),
        ({"ota_result": {"status": "failed"}}, "ota_result.assignment_id"),
    ],
)
async def test_what_is_out_of_range_is_refused_and_nothing_kept(
    device: Worn, body: dict[str, Any], param: str
) -> None:
    for token, device_id in ((device.token, "me"), (device.tenant.test_key, device.id)):
        answer = await device.send({"storage_used_mb": 7, **body}, token=token, device_id=device_id)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["code"] == "invalid_request"
        assert answer.json()["error"]["param"] == param
    row = await device.row()
    assert (row["last_heartbeat_at"], row["storage_used_mb"]) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        {"flags": 255, "battery_percent": 100},
        {"flags": 0, "battery_percent": 0},
        {"firmware_version": "x" * 32, "device_name": "\N{GRINNING FACE}" * 32},
        {"device_name": ""},
        {"client_context": "iOS 19"},
        {"client_context": [1e300, "\N{GRINNING FACE}", {"a": {"b": []}}]},
        {"diagnostics": {}},
        {"device_state": "x" * 32, "connection_type": ["x" * 16] * 16},
        {"storage_used_mb": 2**53 - 1, "pending_recordings": 2**53 - 1},
        {"unheard_of": {"flags": 256}},
    ],
)
async def test_what_is_just_in_range_is_taken(device: Worn, body: dict[str, Any]) -> None:
    await device.beat(**body)
    shown = await device.shown()
    told = {**shown, **(shown["recording_state"] or {}), "device_name": shown["name"]}
    for name in body.keys() & told.keys():
        assert told[name] == body[name], name


async def test_unlisted_states_and_connections_are_kept_as_given(device: Worn) -> None:
    told = {"device_state": " Docked\n", "connection_type": ["thread", "5g", "wifi", "wifi"]}
    await device.beat(**told)
    shown = (await device.shown())["recording_state"]
    assert {name: shown[name] for name in told} == told
    assert (await device.shown("/state"))["recording"]["active"] is False


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"connection_type": ["wifi"]}, "wifi"),
        ({"connection_type": ["4g"]}, "cellular"),
        ({"connection_type": ["ble"]}, "ble"),
        ({"connection_type": ["ble", "4g"]}, "cellular"),
        ({"connection_type": ["ble", "4g", "wifi"]}, "wifi"),
        ({"connection_type": ["thread"]}, None),
        ({"connection_type": [], "flags": 8}, None),
        ({"flags": 8 + 16}, "wifi"),
        ({"flags": 16 + 1}, "cellular"),
        ({"flags": 255 - 8 - 16}, None),
        ({}, None),
    ],
)
async def test_last_seen_by_is_the_connection_of_that_heartbeat(
    device: Worn, body: dict[str, Any], word: str | None
) -> None:
    assert (await device.shown("/state"))["last_seen_by"] is None
    await device.beat(connection_type=["ble"])
    await device.beat(**body)
    assert (await device.shown("/state"))["last_seen_by"] == word
    assert (await device.shown("/settings"))["current_status"]["network_type"] == word
    await device.send(body, token=device.tenant.test_key, device_id=device.id)
    assert (await device.shown("/state"))["last_seen_by"] == "ble"


@pytest.mark.parametrize(
    ("told", "used"), [((5, 4), 4), ((4, 4), 4), ((3, 4), 3), ((3, 0), 0), ((5, None), 5), ((None, 4), None)]
)
async def test_used_storage_is_never_shown_above_the_total(
    device: Worn, told: tuple[int | None, int | None], used: int | None
) -> None:
    await device.beat(storage_used_mb=told[0], storage_total_mb=told[1], battery_percent=5)
    settings = (await device.shown("/settings"))["current_status"]
    (event,) = await device.events("device.low_battery")
    for shown in (await device.shown(), await device.shown("/state"), settings, event["data"]):
        assert (shown["storage_used_mb"], shown["storage_total_mb"]) == (used, told[1])


async def test_a_wrong_token_is_told_before_a_wrong_body(device: Worn) -> None:
    for body in ({"flags": 256}, {"device_name": "\N{GRINNING FACE}" * 33}):
        assert (await device.send(body, token=new_token("dtok"))).status_code == 401
        assert (await device.send(body, device_id="dev_other")).status_code in (400, 403)
        assert (await device.send(body)).status_code == 400


async def test_config_revision_is_the_devices_and_grows_with_its_configuration(device: Worn) -> None:
    before = (await device.beat())["config_revision"]
    answer = await device.client.patch(
        f"/v1/devices/{device.id}/config/upload",
        json={"streaming_enabled": True},
        headers=device.tenant.headers,
    )
    assert answer.status_code == 200
    after = (await device.beat())["config_revision"]
    assert after > before
    answer = await device.client.patch(
        "/v1/config/upload", json={"allow_roaming": True}, headers=device.tenant.headers
    )
    assert answer.status_code == 200
    assert (await device.beat())["config_revision"] > after


async def test_a_report_that_an_older_version_stored_in_part_has_every_field(device: Worn) -> None:
    async with device.ports.database.acquire() as connection:
        await connection.execute(
            """UPDATE devices SET recording_state = '{"flags": 3}' WHERE world_id = $1 AND id = $2""",
            device.tenant.test_world,
            device.id,
        )
    for path in ("", "/state"):
        assert (await device.shown(path))["recording_state"] == {
            "device_state": None, "pending_recordings": 0, "flags": 3, "connection_type": [],
        }  # fmt: skip


async def test_a_device_has_the_idempotency_keys_of_its_binding_however_its_token_is_looked_up(
    live: Running, device: Worn
) -> None:
    token_hash = live.ports.hasher.hash(device.token)
    found = await live.services[Heartbeats].of_device(token_hash, "me", HeartbeatBody())
    assert found is not None
    looked_up = await authenticator(live.ports)(f"Bearer {device.token}".encode())
    assert found[0].principal == looked_up.principal == f"device:{device.id}:1"
