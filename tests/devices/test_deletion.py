"""A deleted device leaves every answer and frees its serial number; its recordings stay."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.database import outbox
from lapel.foundation.ports import Ports
from lapel.slices.devices.service import Devices, lock_device
from tests.devices.conftest import Registry
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, bearer

ROW = "SELECT * FROM devices WHERE world_id = $1 AND id = $2"
EVENTS = "SELECT count(*) FROM events WHERE world_id = $1 AND resource_id = $2"
TOKENS = "SELECT count(*) FROM device_tokens WHERE world_id = $1 AND device_id = $2"
# What stays of a deleted device, for the recordings that name it.
KEPT = {
    "world_id",
    "id",
    "serial_number",
    "model",
    "binding_generation",
    "metadata",
    "settings",
    "created_at",
    "updated_at",
    "deleted_at",
    "config_revision",
}


async def test_it_is_gone_from_every_answer(registry: Registry, client: httpx.AsyncClient) -> None:
    device = await registry.device("GONE0001")
    other = await registry.device("GONE0002")
    answer = await registry.ask("DELETE", f"/devices/{device}")
    assert (answer.status_code, answer.content) == (204, b"")
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("PATCH", "", {"settings": {"audio": {}}}),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("GET", "/state", None),
        ("GET", "/settings", None),
        ("PUT", "/settings", {}),
        ("PATCH", "/settings", {"audio": {}}),
        ("POST", "/unbind", None),
    ):
        assert (await registry.ask(method, f"/devices/{device}{path}", body)).status_code == 404, (
            method,
            path,
        )
    person = (await registry.ask("POST", "/end-users")).json()["id"]
    assert (await registry.ask("POST", f"/devices/{device}/bind", {"end_user_id": person})).status_code == 404
    body = {"device_id": device, "end_user_id": person}
    refused = await registry.ask("POST", "/recordings", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "device_id")
    for query in ("", "?status=unbound", "?limit=1"):
        assert [each["id"] for each in (await registry.get(f"/devices{query}"))["data"]] == [other]
    stats = await registry.get("/devices/stats")
    assert (stats["total_count"], [each["id"] for each in stats["data"]]) == (1, [other])


async def test_a_bound_device_stays(registry: Registry) -> None:
    bound = await registry.bound("GONE0003")
    answer = await registry.ask("DELETE", f"/devices/{bound['id']}")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "device_already_bound"
    assert answer.json()["error"]["resource_id"] == bound["id"]
    await registry.ask("POST", f"/devices/{bound['id']}/unbind")
    assert (await registry.ask("DELETE", f"/devices/{bound['id']}")).status_code == 204


async def test_its_serial_number_is_free_again(registry: Registry) -> None:
    first = await registry.device("AGAIN001", name="one")
    await registry.ask("DELETE", f"/devices/{first}")
    second = await registry.device("AGAIN001")
    assert second != first
    assert (await registry.get(f"/devices/{second}"))["name"] is None
    await registry.ask("DELETE", f"/devices/{second}")
    assert await registry.device("AGAIN001") not in (first, second)


async def test_its_row_is_emptied_and_its_events_go(registry: Registry, ports: Ports) -> None:
    bound = await registry.bound("EMPTY001")
    path, world = f"/devices/{bound['id']}", registry.tenant.test_world
    await registry.ask(
        "PATCH", path, {"name": "Desk", "metadata": {"a": 1}, "settings": {"audio": {"codec": "aac"}}}
    )
    async with ports.database.acquire() as connection:
        await connection.execute(FILL_REPORTED, world, bound["id"])
        filled = await connection.fetchrow(ROW, world, bound["id"])
        assert filled is not None
        # Whatever column comes to be: fill it above, and see that a deletion empties it.
        assert {name for name, value in filled.items() if value is None} == {"deleted_at"}
    await registry.ask("POST", f"{path}/unbind")
    assert (await registry.ask("DELETE", path)).status_code == 204
    async with ports.database.acquire() as connection:
        row = await connection.fetchrow(ROW, world, bound["id"])
        assert row is not None
        assert {name for name, value in row.items() if value is not None} == KEPT
        assert (row["serial_number"], row["metadata"], row["settings"]) == ("", "{}", "{}")
        assert await connection.fetchval(EVENTS, world, bound["id"]) == 0
        assert await connection.fetchval(TOKENS, world, bound["id"]) == 0


FILL_REPORTED = """
UPDATE devices SET firmware_version = '1', public_key = 'k', battery_percent = 1, storage_used_mb = 1,
    storage_total_mb = 2, signal_strength_dbm = -1, last_heartbeat_at = now(), last_seen_at = now(),
    last_seen_by = 'wifi', last_synced_at = now(), last_synced_by = 'wifi',
    recording_state = '{"device_state": "idle", "pending_recordings": 0, "flags": 0, "connection_type": []}',
    active_recording_id = 'rec_1', active_since = now(), initiated_by = 'local', client_context = '{}',
    heartbeat_slot = 1, offline_since = now(), low_battery_since = now(), diagnostics_day = 1,
    diagnostics_bytes = 1, diagnostics_taken = true
WHERE world_id = $1 AND id = $2
"""


async def test_recordings_stay_and_name_it(registry: Registry, client: httpx.AsyncClient) -> None:
    bound = await registry.bound("KEEP0001")
    made = await client.post("/v1/recordings", headers=bearer(bound["device_token"]))
    await registry.ask("POST", f"/devices/{bound['id']}/unbind")
    await registry.ask("DELETE", f"/devices/{bound['id']}")
    assert await registry.get(f"/recordings/{made.json()['id']}") == made.json()
    listed = await registry.get(f"/recordings?device_id={bound['id']}")
    assert [each["device_id"] for each in listed["data"]] == [bound["id"]]


async def test_a_kept_answer_tells_nothing_of_it_any_more(
    registry: Registry, client: httpx.AsyncClient
) -> None:
    async def post(path: str, key: str, body: dict[str, Any]) -> httpx.Response:
        headers = {**registry.tenant.headers, "Idempotency-Key": key}
        return await client.post(f"/v1/devices{path}", json=body, headers=headers)

    person = (await registry.ask("POST", "/end-users")).json()["id"]
    made = await post("", "made", {"serial_number": "KEPT0001"})
    device = made.json()["id"]
    bound = await post(f"/{device}/bind", "bound", {"end_user_id": person})
    told = await post(f"/{device}/commands", "told", {"type": "trigger_upload"})
    assert (await post(f"/{device}/commands", "told", {"type": "trigger_upload"})).json() == told.json()
    assert (await post("", "made", {"serial_number": "KEPT0001"})).json() == made.json()
    assert (await post(f"/{device}/bind", "bound", {"end_user_id": person})).json() == bound.json()
    await registry.ask("POST", f"/devices/{device}/unbind")
    await registry.ask("DELETE", f"/devices/{device}")
    assert (await post("", "made", {"serial_number": "KEPT0001"})).status_code == 404
    assert (await post(f"/{device}/bind", "bound", {"end_user_id": person})).status_code == 404
    assert (await post(f"/{device}/commands", "told", {"type": "trigger_upload"})).status_code == 404


async def test_a_scoped_key_deletes_none(registry: Registry, client: httpx.AsyncClient) -> None:
    bound = await registry.bound("SCOPED01")
    key = await registry.ask(
        "POST", "/api-keys", {"scopes": ["devices:write"], "end_user_id": bound["end_user_id"]}
    )
    await registry.ask("POST", f"/devices/{bound['id']}/unbind")
    for credentials in (key.json()["key"], bound["device_token"]):
        answer = await client.delete(f"/v1/devices/{bound['id']}", headers=bearer(credentials))
        assert answer.status_code in (401, 403)
    assert (await registry.get(f"/devices/{bound['id']}"))["status"] == "unbound"


async def test_what_is_tied_to_it_goes_in_the_same_transaction(
    registry: Registry, ports: Ports, tenant: Tenant
) -> None:
    """A hook that fails leaves the device and everything of it as it was."""
    calls: list[tuple[int, list[str]]] = []

    async def note(connection: Any, world_id: int, ids: list[str], now: datetime) -> None:
        calls.append((world_id, ids))
        await outbox.publish(
            connection,
            ports.ids,
            now,
            world_id=world_id,
            type="toy.noted",
            resource_id="note",
            data=b"{}",
        )

    async def fail(connection: Any, world_id: int, ids: list[str], now: datetime) -> None:
        raise LookupError

    device = await registry.device("HOOK0001")
    actor = Actor(
        kind="key", id="key_1", world_id=tenant.test_world, project_id=tenant.project_id, mode="test"
    )
    devices = Devices(ports)
    devices.on_delete.extend([note, fail])
    with pytest.raises(LookupError):
        await devices.delete(actor, device)
    assert calls == [(tenant.test_world, [device])]
    assert (await registry.get(f"/devices/{device}"))["id"] == device
    async with ports.database.acquire() as connection:
        assert await connection.fetchval(EVENTS, tenant.test_world, "note") == 0


async def test_deletions_and_bindings_at_once_leave_one_story(registry: Registry) -> None:
    person = (await registry.ask("POST", "/end-users")).json()["id"]
    for n in range(8):
        device = await registry.device(f"RACE{n:04}")
        path = f"/devices/{device}"
        deleted, bound, patched, *_ = await asyncio.gather(
            registry.ask("DELETE", path),
            registry.ask("POST", f"{path}/bind", {"end_user_id": person}),
            registry.ask("PATCH", path, {"name": "late", "settings": {"audio": {"bitrate": 64}}}),
            registry.ask("PATCH", f"{path}/settings", {"power": {"auto_sleep_minutes": 1}}),
        )
        assert patched.status_code in (200, 404)
        assert (deleted.status_code, bound.status_code) in ((204, 404), (409, 200))
        shown = await registry.ask("GET", path)
        assert shown.status_code == (404 if deleted.status_code == 204 else 200)
        if shown.status_code == 200:
            assert shown.json()["settings"] == {
                "audio": {"bitrate": 64},
                "power": {"auto_sleep_minutes": 1},
            }


async def test_of_many_deletions_one_is_told(registry: Registry) -> None:
    device = await registry.device("MANY0001")
    answers = await asyncio.gather(*(registry.ask("DELETE", f"/devices/{device}") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 5


async def test_registrations_and_deletions_of_one_serial_number_at_once(registry: Registry) -> None:
    device = await registry.device("SWAP0001")
    for _ in range(6):
        deleted, *registered = await asyncio.gather(
            registry.ask("DELETE", f"/devices/{device}"),
            *(registry.ask("POST", "/devices", {"serial_number": "SWAP0001"}) for _ in range(4)),
        )
        assert deleted.status_code == 204
        assert {answer.status_code for answer in registered} <= {200, 201}
        again = await registry.ask("POST", "/devices", {"serial_number": "SWAP0001"})
        assert again.json()["id"] != device
        device = again.json()["id"]


async def test_a_deletion_waits_for_what_is_being_tied_to_the_device(
    registry: Registry, ports: Ports, tenant: Tenant
) -> None:
    """And whoever comes after it finds no device."""
    device = await registry.device("HELD0001", model="bota_pin")
    async with ports.database.transaction() as connection:
        locked = await lock_device(connection, tenant.test_world, device)
        assert locked
        assert (locked.id, locked.serial_number, locked.model) == (device, "HELD0001", "bota_pin")
        deleting = asyncio.create_task(registry.ask("DELETE", f"/devices/{device}"))
        await until_waiting(ports, 1)
        assert not deleting.done()
    assert (await deleting).status_code == 204
    async with ports.database.transaction() as connection:
        assert await lock_device(connection, tenant.test_world, device) is None


LEFT = """
SELECT (SELECT count(*) FROM commands WHERE world_id = $1 AND device_id = $2) AS commands,
    (SELECT count(*) FROM device_diagnostics WHERE world_id = $1 AND device_id = $2) AS diagnostics,
    (SELECT count(*) FROM config_overrides WHERE world_id = $1 AND subject_id = $2) AS overrides,
    (SELECT count(*) FROM ota_assignments WHERE world_id = $1 AND device_id = $2
        AND status IN ('pending', 'delivered')) AS offers,
    (SELECT count(*) FROM device_tokens WHERE world_id = $1 AND device_id = $2) AS tokens,
    (SELECT count(*) FROM events WHERE world_id = $1 AND resource_id = $2) AS events
"""


async def test_nothing_is_left_of_what_met_the_deletion(registry: Registry, ports: Ports) -> None:
    """Whatever is being tied to the device just then is refused, or goes with it."""
    world = registry.tenant.test_world
    told = {"battery_percent": 5, "diagnostics": {"events": [{"event_id": "0" * 16}]}}
    deletions = 0
    for n in range(12):
        bound = await registry.bound(f"LEFT{n:04}")
        path = f"/devices/{bound['id']}"

        async def delete(path: str = path, turns: int = n % 4) -> int:
            for _ in range(turns):
                await asyncio.sleep(0)
            await registry.ask("POST", f"{path}/unbind")
            return (await registry.ask("DELETE", path)).status_code

        async def call(method: str, action: str, body: Any, path: str = path) -> int:
            return (await registry.ask(method, f"{path}{action}", body)).status_code

        status, *others = await asyncio.gather(
            delete(),
            call("POST", "/commands", {"type": "trigger_upload"}),
            call("POST", "/heartbeat", told),
            call("PATCH", "/config/upload", {"allow_roaming": True}),
            call("POST", "/bind", {"end_user_id": bound["end_user_id"]}),
            call("POST", "/token/refresh", {}),
        )
        assert set(others) <= {200, 201, 403, 404, 409}, others
        shown = await registry.ask("GET", path)
        assert (status, shown.status_code) in ((204, 404), (409, 200))
        if status == 409:  # it was bound again
            await registry.ask("POST", f"{path}/unbind")
            assert (await registry.ask("DELETE", path)).status_code == 204
        deletions += status == 204
        async with ports.database.acquire() as connection:
            left = await connection.fetchrow(LEFT, world, bound["id"])
        assert left is not None
        assert {name: count for name, count in left.items() if count} == {}
    assert deletions
