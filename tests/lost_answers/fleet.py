"""Devices to lose answers of, and what there is of them in the database."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant, bearer

Json = dict[str, Any]
_numbers = count(1)


@dataclass(slots=True)
class Bound:
    """A device somebody wears."""

    id: str
    token: str
    end_user_id: str

    @property
    def headers(self) -> dict[str, str]:
        """Authorization by its token."""
        return bearer(self.token)


@dataclass(frozen=True, slots=True)
class Fleet:
    """One tenant's devices, made and asked for without the proxy."""

    ports: Ports
    client: httpx.AsyncClient
    tenant: Tenant

    def name(self) -> str:
        """One that nothing else has."""
        return f"LOST{next(_numbers):06d}"

    async def call(
        self, method: str, path: str, headers: dict[str, str], json: Json | None = None, expect: int = 200
    ) -> Json:
        """One call that is answered as expected."""
        answer = await self.client.request(method, path, headers=headers, json=json)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def end_user(self) -> str:
        """Somebody new."""
        return (await self.call("POST", "/v1/end-users", self.tenant.headers, {}, 201))["id"]

    async def unbound(self) -> str:
        """A new device's id."""
        body = {"serial_number": self.name(), "model": "bota_pin"}
        return (await self.call("POST", "/v1/devices", self.tenant.headers, body, 201))["id"]

    async def bound(self) -> Bound:
        """A new device that somebody new wears."""
        device_id, end_user_id = await self.unbound(), await self.end_user()
        path = f"/v1/devices/{device_id}/bind"
        made = await self.call("POST", path, self.tenant.headers, {"end_user_id": end_user_id})
        return Bound(device_id, made["device_token"], end_user_id)

    async def recording(self, device: Bound) -> str:
        """A new recording's id."""
        return (await self.call("POST", "/v1/recordings", device.headers, {}, 201))["id"]

    async def command(self, device: Bound, kind: str = "trigger_upload") -> str:
        """A new command's id."""
        path = f"/v1/devices/{device.id}/commands"
        return (await self.call("POST", path, self.tenant.headers, {"type": kind}, 201))["id"]

    async def works(self, token: str, device_id: str) -> None:
        """The token is the device's, and no other is: the device is not locked out, nor is there a spare."""
        path = f"/v1/devices/{device_id}/commands/pending"
        await self.call("GET", path, bearer(token))
        assert await self.number("device_tokens", device_id=device_id) == 1

    async def number(self, table: str, **equal: str) -> int:
        """How many rows of the tenant's test world have these values."""
        where = " AND ".join(f"{column} = ${at}" for at, column in enumerate(equal, 2))
        statement = f"SELECT count(*) FROM {table} WHERE world_id = $1 AND {where}"
        async with self.ports.database.acquire() as connection:
            return await connection.fetchval(statement, self.tenant.test_world, *equal.values())

    async def events(self, resource_id: str, kind: str) -> int:
        """How often an event of the kind was made for the resource."""
        return await self.number("events", resource_id=resource_id, type=kind)
