"""No table names an erased end user, but for the ledger, the tombstone and the audit log (by its id)."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from lapel import app
from lapel.foundation.ports import Ports
from lapel.slices.erasure.payloads import EraseEndUser
from lapel.slices.erasure.service import Erasures
from tests.recordings.support import Device
from tests.support.erasing import delete_rows
from tests.support.tenants import Tenant, bearer, make_key

# (table, column): what keeps an id, and why, is told by docs/erasure.md.
ALLOWED = {
    ("audit_log", "actor_id"),
    ("audit_log", "resource_id"),
    ("end_users", "id"),
    ("erasures", "end_user_id"),
    ("erasures", "resource_id"),
}
COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name, c.data_type FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
"""
PERSON = {
    "external_id": "crm:zq-external-1",
    "name": "Zqjane Doe",
    "email": "zqjane@example.com",
    "metadata": {"city": "Zqtown"},
}
DEVICE_NAMES = ("Zqjane's pin", "Zqjane's second", "Zqjane's old one", "Zqjane's older one")


async def naming(ports: Ports, needles: list[str]) -> set[tuple[str, str]]:
    """Every (table, column) with a row in which one of these stands, as text or as bytes."""
    found: set[tuple[str, str]] = set()
    async with ports.database.acquire() as connection:
        for schema, table, column, kind in await connection.fetch(COLUMNS):
            text = f"encode({column}, 'hex')" if kind == "bytea" else f"{column}::text"
            wanted = [each.encode().hex() if kind == "bytea" else each for each in needles]
            hit: Any = await connection.fetchval(
                f"SELECT 1 FROM {schema}.{table} WHERE {text} LIKE ANY($1::text[]) LIMIT 1",
                [f"%{each}%" for each in wanted],
            )
            if hit is not None:
                found.add((table, column))
    return found


@pytest.fixture
def operator(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """The tenant's secret key."""
    return Device(client, tenant, tenant.headers)


async def lead_a_life(operator: Device, ports: Ports) -> str:
    """An end user of whom every part of the server knows something."""
    once = {"Idempotency-Key": "once"}
    person: str = (await operator.post("/v1/end-users", 201, PERSON, **once))["id"]
    world = operator.tenant.test_world
    at = f"/v1/end-users/{person}"
    await operator.post(f"{at}/token", 201, {})
    await operator.call("PATCH", f"{at}/config/processing", 200, {"auto_transcription": {"enabled": True}})
    scoped = await make_key(ports, world, "rk_test", end_user_id=person)
    async with ports.database.acquire() as connection:
        await connection.execute(
            "UPDATE api_keys SET name = 'Zqjane' WHERE world_id = $1 AND end_user_id = $2",
            world,
            person,
        )
    await operator.client.post("/v1/recordings", json={}, headers={**bearer(scoped), **once})
    for number, name in enumerate(DEVICE_NAMES):
        device: str = (await operator.post("/v1/devices", 201, {"serial_number": f"ZQ-{number}"}))["id"]
        path = f"/v1/devices/{device}"
        bind = {"Idempotency-Key": f"b{number}"}
        bound = await operator.post(f"{path}/bind", 200, {"end_user_id": person}, **bind)
        own = bearer(bound["device_token"])
        if number % 2:
            await operator.call("PATCH", path, 200, {"name": name})
        event = {"event_id": f"{number:016x}", "note": name}
        beat = {
            "device_name": name if not number % 2 else None,
            "battery_percent": 3,
            "client_context": {"owner": PERSON["name"]},
            "diagnostics": {"schema_version": 1, "events": [event]},
        }
        await operator.post(f"{path}/heartbeat", 200, {k: v for k, v in beat.items() if v is not None}, **own)
        command = {"type": "start_recording", "params": {"metadata": {"for": PERSON["name"]}}}
        await operator.post(f"{path}/commands", 201, command, **{"Idempotency-Key": f"c{number}"})
        if number >= 2:
            await operator.post(f"{path}/unbind", 200)
    recording, _ = await operator.upload(b"OggS" + bytes(99), end_user_id=person, name=PERSON["name"])
    await operator.post("/v1/transcriptions", 201, {"recording_id": recording})
    return person


async def test_no_table_names_an_erased_end_user(operator: Device, ports: Ports) -> None:
    person = await lead_a_life(operator, ports)
    needles = [person, "Zqjane", "zqjane", "Zqtown", "zq-external-1"]
    before = await naming(ports, needles)
    assert {table for table, _ in before} >= {
        "api_keys", "audit_log", "commands", "config_overrides", "device_diagnostics", "devices", "end_users",
        "end_user_tokens", "events", "idempotency_keys", "recordings",
    }  # fmt: skip
    await operator.call("DELETE", f"/v1/end-users/{person}", 204)
    await finish(ports, operator.tenant.test_world, person)
    assert await naming(ports, needles) - ALLOWED == set()


async def test_a_device_keeps_the_name_that_it_had_before(operator: Device) -> None:
    person = await operator.end_user()
    new = {"serial_number": "KEPT-1", "name": "Pin 17"}
    device = (await operator.post("/v1/devices", 201, new))["id"]
    await operator.post(f"/v1/devices/{device}/bind", 200, {"end_user_id": person})
    await operator.call("DELETE", f"/v1/end-users/{person}", 204)
    assert (await operator.call("GET", f"/v1/devices/{device}", 200))["name"] == "Pin 17"


async def finish(ports: Ports, world_id: int, person: str) -> None:
    """What a worker does after a deletion, at once; the jobs themselves are gone when they are done."""
    await delete_rows(ports, world_id, person)
    await app.open_services(ports)[Erasures].erase_end_user(EraseEndUser(world_id, person))
    async with ports.database.acquire() as connection:
        await connection.execute(
            "DELETE FROM jobs.pgqueuer WHERE payload = $1 AND entrypoint IN"
            " ('erasure.end-user', 'recordings.delete-of-end-user')",
            msgspec.json.encode(EraseEndUser(world_id, person)),
        )
