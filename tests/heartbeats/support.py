"""A device that is worn, and what tests ask of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import msgspec

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.heartbeats.service import Heartbeats
from tests.support.running import Running
from tests.support.tenants import Tenant, bearer

EVENTS = "SELECT type, dedupe, body FROM events WHERE world_id = $1 AND resource_id = $2 ORDER BY id"
DIAGNOSTICS = """
SELECT event_id, schema_version, body FROM device_diagnostics
WHERE world_id = $1 AND device_id = $2 ORDER BY event_id
"""
ROW = "SELECT * FROM devices WHERE world_id = $1 AND id = $2"
HOLD = "SELECT 1 FROM devices WHERE world_id = $1 AND id = $2 FOR UPDATE"


@dataclass
class Worn:
    """One device of a test's project, bound."""

    client: httpx.AsyncClient
    ports: Ports
    tenant: Tenant
    id: str
    person: str
    token: str = field(default="", repr=False)

    async def send(
        self, body: Any = None, *, token: str | None = None, device_id: str = "me"
    ) -> httpx.Response:
        """A heartbeat, by this device's token or another one."""
        return await self.client.post(
            f"/v1/devices/{device_id}/heartbeat",
            json=body or {},
            headers=bearer(self.token if token is None else token),
        )

    async def beat(self, **body: Any) -> dict[str, Any]:
        """A heartbeat that is taken."""
        answer = await self.send(body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: dict[str, Any] | None = None, status: int = 200) -> dict[str, Any]:
        """What the project's key asks of this device."""
        answer = await self.client.post(
            f"/v1/devices/{self.id}{path}", json=body or {}, headers=self.tenant.headers
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def bind(self) -> None:
        """Give it to the person (again)."""
        self.token = (await self.post("/bind", {"end_user_id": self.person}))["device_token"]

    async def shown(self, what: str = "") -> dict[str, Any]:
        """The device, or its `/state`, as the project's key reads it."""
        answer = await self.client.get(f"/v1/devices/{self.id}{what}", headers=self.tenant.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def row(self) -> asyncpg.Record:
        """All that the database has of it."""
        async with self.ports.database.acquire() as connection:
            row = await connection.fetchrow(ROW, self.tenant.test_world, self.id)
        assert row is not None
        return row

    async def diagnostics(self) -> list[tuple[str, int | None, Any]]:
        """What is stored: event id, schema version, body."""
        async with self.ports.database.acquire() as connection:
            rows = await connection.fetch(DIAGNOSTICS, self.tenant.test_world, self.id)
        return [(row[0], row[1], msgspec.json.decode(row[2])) for row in rows]

    async def events(self, type_: str) -> list[dict[str, Any]]:
        """The bodies of the device's events of a type."""
        async with self.ports.database.acquire() as connection:
            rows = await connection.fetch(EVENTS, self.tenant.test_world, self.id)
        return [msgspec.json.decode(row["body"]) for row in rows if row["type"] == type_]


async def worn(client: httpx.AsyncClient, ports: Ports, tenant: Tenant, serial: str = "BEAT0001") -> Worn:
    """A fresh device on a fresh person."""
    body = {"serial_number": serial, "model": "bota_pin"}
    device = await client.post("/v1/devices", json=body, headers=tenant.headers)
    person = await client.post("/v1/end-users", headers=tenant.headers)
    made = Worn(client, ports, tenant, device.json()["id"], person.json()["id"])
    await made.bind()
    return made


@dataclass
class Timed:
    """A device, and the clock of its server."""

    device: Worn
    clock: ManualClock
    live: Running

    async def after(self, **time: int) -> int:
        """Some time passes (`minutes=15`), and the sweep comes round; how many devices it found silent."""
        self.clock.advance(timedelta(**time))
        return await self.live.services[Heartbeats].sweep()


@asynccontextmanager
async def held(device: Worn) -> AsyncGenerator[None]:
    """Lock the device's row for the block. Statements that wait for it get it in the order of asking."""
    async with device.ports.database.transaction() as connection:
        await connection.execute(HOLD, device.tenant.test_world, device.id)
        yield
