"""No table names an erased end user, but for the ledger, the tombstone and the audit log (by its id)."""

from __future__ import annotations

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.recordings.support import Device
from tests.support.a_life import ALLOWED, finish, lead_a_life, naming
from tests.support.tenants import Tenant


@pytest.fixture
def operator(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """The tenant's secret key."""
    return Device(client, tenant, tenant.headers)


async def test_no_table_names_an_erased_end_user(operator: Device, ports: Ports) -> None:
    life = await lead_a_life(operator, ports)
    before = await naming(ports, life.person, life.word)
    assert {table for table, _ in before} >= {
        "api_keys", "audit_log", "commands", "config_overrides", "device_diagnostics", "devices", "end_users",
        "end_user_tokens", "events", "idempotency_keys", "recordings",
    }  # fmt: skip
    await operator.call("DELETE", f"/v1/end-users/{life.person}", 204)
    await finish(ports, operator.tenant.test_world, life.person)
    assert await naming(ports, life.person, life.word) - ALLOWED == set()


async def test_a_device_keeps_the_name_that_it_had_before(operator: Device) -> None:
    person = await operator.end_user()
    new = {"serial_number": "KEPT-1", "name": "Pin 17"}
    device = (await operator.post("/v1/devices", 201, new))["id"]
    await operator.post(f"/v1/devices/{device}/bind", 200, {"end_user_id": person})
    await operator.call("DELETE", f"/v1/end-users/{person}", 204)
    assert (await operator.call("GET", f"/v1/devices/{device}", 200))["name"] == "Pin 17"
