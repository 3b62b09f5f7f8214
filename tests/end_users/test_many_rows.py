"""The deletion of an end user touches few rows, however many there are; the job removes them in batches."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from lapel import app
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import Erasures
from lapel.slices.recordings.service import Recordings
from tests.recordings.support import Device
from tests.support.erasing import delete_rows
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant

MANY = 2500
FILL = (
    """
INSERT INTO commands (world_id, id, device_id, end_user_id, binding_generation, type, status, params,
        expires_at, created_at, delivered_at, executed_at)
SELECT $1, 'cmd_' || lpad(n::text, 24, '0'), $2, $3, 1, 'stop_recording',
    (ARRAY['pending', 'delivered', 'executed', 'failed', 'cancelled'])[n % 5 + 1],
    '{"max_duration_sec": 60, "upload_immediately": false, "metadata": {}}',
    now() - make_interval(secs => n), now() - make_interval(secs => n + 9),
    CASE WHEN n % 5 IN (1, 2, 3) THEN now() END, CASE WHEN n % 5 IN (2, 3) THEN now() END
FROM generate_series(1, $4::integer) n""",
    """
INSERT INTO device_diagnostics (world_id, device_id, event_id, end_user_id, body, received_at)
SELECT $1, $2, n, $3, '{}', now() FROM generate_series(1, $4::integer) n""",
    """
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, end_user_id)
SELECT $1, 'evt_' || n, 'device.offline', $2, n, '', now(), $3 FROM generate_series(1, $4::integer) n""",
    """
INSERT INTO idempotency_keys
    (world_id, principal, key, fingerprint, status, sealed_body, created_at, end_user_id)
SELECT $1, 'device:' || $2::text, n, '', 200, 'x', now(), $3 FROM generate_series(1, $4::integer) n""",
    """
INSERT INTO idempotency_keys (world_id, principal, key, fingerprint, status, sealed_body, created_at)
SELECT $1, 'end_user:' || $3::text, $2::text || n, '', 200, 'x', now()
FROM generate_series(1, $4::integer) n""",
)
# In the order in which the job comes to them.
OF_PERSON = {
    "commands": "end_user_id = $2",
    "device_diagnostics": "end_user_id = $2",
    "events": "end_user_id = $2 AND type = 'device.offline'",
    "idempotency_keys of their keys": "principal = 'end_user:' || $2::text",
    "idempotency_keys": "end_user_id = $2 AND principal LIKE 'device:%'",
}
TOUCHED = "count(*) FILTER (WHERE xmax <> 0)"


async def left(ports: Ports, world: int, person: str, what: str = "count(*)") -> dict[str, int]:
    """Of each table's rows of the end user, how many."""
    async with ports.database.acquire() as connection:
        return {
            table: await connection.fetchval(
                f"SELECT {what} FROM {table.split()[0]} WHERE world_id = $1 AND {whose}", world, person
            )
            for table, whose in OF_PERSON.items()
        }


@pytest.fixture
def operator(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """The tenant's secret key."""
    return Device(client, tenant, tenant.headers)


async def state(ports: Ports, person: str) -> str:
    """The ledger's, after all of its rounds have had their time."""
    for minutes in (10, 20, 30):
        clock = ManualClock(ports.clock.now() + timedelta(minutes=minutes))
        await Erasures(replace(ports, clock=clock)).run_due()
    async with ports.database.acquire() as connection:
        return await connection.fetchval("SELECT state FROM erasures WHERE resource_id = $1", person)


async def deleted_with_many_rows(operator: Device, ports: Ports) -> tuple[str, str]:
    """A deleted end user, with all rows; and their device."""
    person = await operator.end_user()
    device: str = (await operator.post("/v1/devices", 201, {"serial_number": "MANY-1"}))["id"]
    await operator.post(f"/v1/devices/{device}/bind", 200, {"end_user_id": person})
    async with ports.database.acquire() as connection:
        for statement in FILL:
            await connection.execute(statement, operator.tenant.test_world, device, person, MANY)
    assert len((await operator.call("GET", f"/v1/devices/{device}/commands", 200))["data"]) > 0
    await operator.call("DELETE", f"/v1/end-users/{person}", 204)
    return person, device


async def test_the_request_touches_no_row_and_no_answer_shows_one(operator: Device, ports: Ports) -> None:
    person, device = await deleted_with_many_rows(operator, ports)
    world = operator.tenant.test_world
    assert await left(ports, world, person) == dict.fromkeys(OF_PERSON, MANY)
    assert await left(ports, world, person, TOUCHED) == dict.fromkeys(OF_PERSON, 0)
    path = f"/v1/devices/{device}/commands"
    for status in ("", *(f"?status={each}" for each in ("expired", "executed", "failed", "cancelled"))):
        assert (await operator.call("GET", path + status, 200))["data"] == [], status
    for number in range(1, 6):
        for method in ("GET", "DELETE"):
            await operator.call(method, f"{path}/cmd_{number:024}", 404)


@pytest.mark.deep
async def test_a_job_killed_in_any_table_goes_on_and_the_ledger_closes_after_the_last_row(
    operator: Device, ports: Ports
) -> None:
    person, _ = await deleted_with_many_rows(operator, ports)
    world = operator.tenant.test_world
    for table, whose in OF_PERSON.items():
        last = f"SELECT max(ctid) FROM {table.split()[0]} WHERE world_id = $1 AND {whose}"
        async with ports.database.transaction() as connection:
            await connection.execute(
                f"SELECT FROM {table.split()[0]} WHERE ctid = ({last}) FOR UPDATE", world, person
            )
            job = asyncio.create_task(delete_rows(ports, world, person))
            await until_waiting(ports, 1)
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
        assert 0 < (await left(ports, world, person))[table] < MANY, table
        assert await state(ports, person) == "open", table
    in_time = replace(ports, clock=ManualClock(ports.clock.now() + timedelta(minutes=6)))
    assert await app.open_services(in_time)[Recordings].deletion.run_due() >= 1
    assert await left(ports, world, person) == dict.fromkeys(OF_PERSON, 0)
    await delete_rows(ports, world, person)  # a repeat
    assert await state(ports, person) == "closed"
