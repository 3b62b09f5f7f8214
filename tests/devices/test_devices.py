"""The registry of devices over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant, bearer, make_key

NULLS = {
    "name",
    "firmware_version",
    "end_user_id",
    "bound_at",
    "battery_percent",
    "storage_used_mb",
    "storage_total_mb",
    "signal_strength_dbm",
    "last_heartbeat_at",
    "last_seen_at",
    "last_synced_at",
    "recording_state",
    "deleted_at",
}
FIELDS = NULLS | {
    "id",
    "serial_number",
    "model",
    "device_type",
    "status",
    "binding_generation",
    "metadata",
    "settings",
    "project_id",
    "created_at",
    "updated_at",
}


async def register(client: httpx.AsyncClient, tenant: Tenant, serial: str, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/devices", json={"serial_number": serial, **body}, headers=tenant.headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def bind_to_new(client: httpx.AsyncClient, tenant: Tenant, device_id: str) -> dict[str, Any]:
    person = (await client.post("/v1/end-users", headers=tenant.headers)).json()
    answer = await client.post(
        f"/v1/devices/{device_id}/bind", json={"end_user_id": person["id"]}, headers=tenant.headers
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_new_device_shows_every_field(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await register(client, tenant, "PIN4G0042", model="bota_pin_4g")
    assert set(made) == FIELDS
    assert made["id"].startswith("dev_")
    assert {key for key, value in made.items() if value is None} == NULLS
    assert (made["model"], made["device_type"]) == ("bota_pin_4g", "bota_pin_4g")
    assert (made["status"], made["binding_generation"]) == ("unbound", 0)
    assert (made["metadata"], made["settings"]) == ({}, {})
    assert made["project_id"] == tenant.project_id
    assert (await client.get(f"/v1/devices/{made['id']}", headers=tenant.headers)).json() == made


async def test_the_older_name_of_the_model_works(client: httpx.AsyncClient, tenant: Tenant) -> None:
    older = await register(client, tenant, "OLD0001", device_type="bota_note")
    both = await register(client, tenant, "OLD0002", device_type="older", model="own_2")
    neither = await register(client, tenant, "OLD0003")
    assert [each["model"] for each in (older, both, neither)] == ["bota_note", "own_2", "unknown"]
    assert all(each["model"] == each["device_type"] for each in (older, both, neither))


async def test_a_known_serial_number_is_answered_as_it_is(client: httpx.AsyncClient, tenant: Tenant) -> None:
    facts = {"name": "Desk", "firmware_version": "1.4.2", "metadata": {"colour": "red"}}
    made = await register(client, tenant, "PIN0001", model="bota_pin", **facts)
    assert {key: made[key] for key in facts} == facts
    again = await client.post(
        "/v1/devices",
        json={"serial_number": "PIN0001", "model": "bota_note", "name": "other"},
        headers=tenant.headers,
    )
    assert (again.status_code, again.json()) == (200, made)
    other_world = await client.post(
        "/v1/devices", json={"serial_number": "PIN0001"}, headers=tenant.live_headers
    )
    assert other_world.status_code == 201


async def test_of_many_registrations_at_once_one_is_new(client: httpx.AsyncClient, tenant: Tenant) -> None:
    answers = await asyncio.gather(
        *(
            client.post("/v1/devices", json={"serial_number": "SAME01"}, headers=tenant.headers)
            for _ in range(12)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "serial_number"),
        ({"serial_number": "abc"}, "serial_number"),
        ({"serial_number": "a" * 65}, "serial_number"),
        ({"serial_number": "PIN 0001"}, "serial_number"),
        ({"serial_number": "PIN0001\n"}, "serial_number"),
        ({"serial_number": "PÍN0001"}, "serial_number"),
        ({"serial_number": "PIN0001", "model": "Bota"}, "model"),
        ({"serial_number": "PIN0001", "model": "m" * 65}, "model"),
        ({"serial_number": "PIN0001", "firmware_version": "v" * 65}, "firmware_version"),
        ({"serial_number": "PIN0001", "device_type": ""}, "device_type"),
        ({"serial_number": "PIN0001", "name": "n" * 129}, "name"),
        ({"serial_number": "PIN0001", "name": "🎙" * 65}, "name"),
        ({"serial_number": "PIN0001", "firmware_version": 1.4}, "firmware_version"),
        ({"serial_number": "PIN0001", "metadata": "x"}, "metadata"),
    ],
)
async def test_a_wrong_value_is_named(
    client: httpx.AsyncClient, tenant: Tenant, body: dict[str, Any], param: str
) -> None:
    answer = await client.post("/v1/devices", json=body, headers=tenant.headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


async def test_what_is_just_within_its_bounds_is_taken(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for serial in ("a-_9", "S" * 64):
        made = await register(client, tenant, serial, model="m_9" * 21 + "x", firmware_version="v" * 64)
        assert (made["serial_number"], made["model"]) == (serial, "m_9" * 21 + "x")
        assert made["firmware_version"] == "v" * 64
    for model in ("bota_pin", "bota_pin_4g", "bota_pin_pro", "bota_note", "9"):
        assert (await register(client, tenant, f"MODEL-{model}", model=model))["model"] == model
    change = {"firmware_version": "w" * 64}
    changed = await client.patch(f"/v1/devices/{made['id']}", json=change, headers=tenant.headers)
    assert changed.json()["firmware_version"] == "w" * 64


async def test_a_name_may_have_128_utf16_units(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await register(client, tenant, "NAME01", name=" " + "🎙" * 63 + " ")
    assert made["name"] == " " + "🎙" * 63 + " "


async def test_the_list_can_be_narrowed(client: httpx.AsyncClient, tenant: Tenant) -> None:
    ids = [(await register(client, tenant, f"LIST{n:02}"))["id"] for n in range(5)]
    bound = [await bind_to_new(client, tenant, ids[n]) for n in (1, 3)]
    owner = bound[0]["end_user_id"]

    async def listed(**params: Any) -> list[str]:
        answer = await client.get("/v1/devices", params=params, headers=tenant.headers)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["data"]]

    assert await listed() == ids[::-1]
    assert await listed(status="bound") == [ids[3], ids[1]]
    assert await listed(status="unbound") == [ids[4], ids[2], ids[0]]
    assert await listed(end_user_id=owner) == [ids[1]]
    assert await listed(end_user_id=owner, status="bound") == [ids[1]]
    assert await listed(end_user_id=owner, status="unbound") == []
    assert await listed(end_user_id="eu_nobody") == []
    # A variable that is empty must not list the devices of all end users.
    empty = await client.get("/v1/devices", params={"end_user_id": ""}, headers=tenant.headers)
    assert (empty.status_code, empty.json()["error"]["param"]) == (400, "end_user_id")
    assert await listed(limit=2, offset=2) == [ids[2], ids[1]]
    wrong = await client.get("/v1/devices", params={"status": "lost"}, headers=tenant.headers)
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "status"


@pytest.mark.parametrize("status", [None, "unbound"])
async def test_a_walk_shows_each_once(client: httpx.AsyncClient, tenant: Tenant, status: str | None) -> None:
    ids = [(await register(client, tenant, f"WALK{n:02}"))["id"] for n in range(5)]
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 2} if status is None else {"limit": 2, "status": status}
    while True:
        body = (await client.get("/v1/devices", params=params, headers=tenant.headers)).json()
        seen += [each["id"] for each in body["data"]]
        await register(client, tenant, f"MORE{len(seen):02}")
        if not body["has_more"]:
            break
        params["cursor"] = body["next_cursor"]
    assert seen == ids[::-1]


async def test_nobody_else_sees_or_touches_them(
    client: httpx.AsyncClient, tenant: Tenant, stranger: Tenant
) -> None:
    made = await register(client, tenant, "MINE01")
    for headers in (stranger.headers, tenant.live_headers):
        person = (await client.post("/v1/end-users", headers=headers)).json()
        path = f"/v1/devices/{made['id']}"
        assert (await client.get(path, headers=headers)).status_code == 404
        assert (await client.post(path + "/unbind", headers=headers)).status_code == 404
        bind = await client.post(path + "/bind", json={"end_user_id": person["id"]}, headers=headers)
        assert bind.status_code == 404
        assert (await client.get("/v1/devices", headers=headers)).json()["data"] == []
        # Nor can the device be given to somebody of another project or world.
        bind = await client.post(path + "/bind", json={"end_user_id": person["id"]}, headers=tenant.headers)
        assert bind.status_code == 404
        assert bind.json()["error"]["param"] == "end_user_id"
    assert (await client.get(f"/v1/devices/{made['id']}", headers=tenant.headers)).json() == made


async def test_a_scoped_key_sees_the_devices_of_its_end_user(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    ids = [(await register(client, tenant, f"SCOPE{n}"))["id"] for n in range(3)]
    own, other = [await bind_to_new(client, tenant, each) for each in ids[:2]]
    key = await make_key(ports, tenant.test_world, "rk_test", end_user_id=own["end_user_id"])
    token = await client.post(f"/v1/end-users/{own['end_user_id']}/token", headers=tenant.headers)
    for credentials in (key, token.json()["token"]):
        headers = bearer(credentials)

        async def listed(headers: dict[str, str] = headers, **params: Any) -> list[str]:
            body = (await client.get("/v1/devices", params=params, headers=headers)).json()
            return [each["id"] for each in body["data"]]

        assert await listed() == [ids[0]]
        assert await listed(end_user_id=other["end_user_id"]) == []
        assert await listed(status="unbound") == []
        statuses = [(await client.get(f"/v1/devices/{each}", headers=headers)).status_code for each in ids]
        assert statuses == [200, 404, 404]
        body = {"end_user_id": own["end_user_id"]}
        for method, path in (
            ("POST", "/v1/devices"),
            ("POST", f"/v1/devices/{ids[2]}/bind"),
            ("POST", f"/v1/devices/{ids[0]}/unbind"),
            ("POST", f"/v1/devices/{ids[0]}/token/refresh"),
        ):
            answer = await client.request(method, path, json=body, headers=headers)
            assert answer.status_code == 403, (method, path)


async def test_callers_at_the_same_time_read_their_own_devices(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    devices, keys = list[str](), list[dict[str, str]]()
    for serial in ("FIRST", "SECOND"):
        made = await register(client, tenant, serial)
        person = (await bind_to_new(client, tenant, made["id"]))["end_user_id"]
        key = await make_key(ports, tenant.test_world, "rk_test", end_user_id=person)
        devices.append(made["id"])
        keys.append(bearer(key))
    callers = [*keys, tenant.headers, tenant.live_headers]
    allowed = [{0}, {1}, {0, 1}, set[int]()]
    asked = [(caller, device) for caller in range(4) for device in range(2)] * 6
    answers = await asyncio.gather(
        *(client.get(f"/v1/devices/{devices[device]}", headers=callers[caller]) for caller, device in asked)
    )
    for (caller, device), answer in zip(asked, answers, strict=True):
        assert answer.status_code == (200 if device in allowed[caller] else 404)
        assert answer.is_error or answer.json()["id"] == devices[device]
