"""One end user with a bound device, and what is done with their configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant, bearer


@dataclass(frozen=True, slots=True)
class Fleet:
    """A project's test world, over HTTP."""

    client: httpx.AsyncClient
    ports: Ports
    tenant: Tenant
    end_user: str
    device: str

    def paths(self) -> dict[str, str]:
        """Where the configuration of each level is."""
        return {
            "project": "/v1/config",
            "end_user": f"/v1/end-users/{self.end_user}/config",
            "device": f"/v1/devices/{self.device}/config",
        }

    async def ask(
        self, method: str, path: str, body: object = None, *, status: int = 200, token: str | None = None
    ) -> Any:
        """What is answered; nothing for 204."""
        headers = bearer(token or self.tenant.test_key)
        answer = await self.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def set(self, level: str, section: str, change: dict[str, Any]) -> Any:
        """PATCH an override."""
        return await self.ask("PATCH", f"{self.paths()[level]}/{section}", change)

    async def read(self, level: str, section: str) -> Any:
        """A section at a level."""
        return await self.ask("GET", f"{self.paths()[level]}/{section}")

    async def revision(self, device: str | None = None, *, token: str | None = None) -> int:
        """What the device's heartbeat is told."""
        told = await self.ask("POST", f"/v1/devices/{device or self.device}/heartbeat", {}, token=token)
        return told["config_revision"]


async def make_fleet(client: httpx.AsyncClient, ports: Ports, tenant: Tenant) -> Fleet:
    """An end user and a device of theirs."""
    fleet = Fleet(client, ports, tenant, "", "")
    end_user = (await fleet.ask("POST", "/v1/end-users", {}, status=201))["id"]
    made = {"serial_number": "CONF0001", "model": "bota_pin"}
    device = (await fleet.ask("POST", "/v1/devices", made, status=201))["id"]
    await fleet.ask("POST", f"/v1/devices/{device}/bind", {"end_user_id": end_user})
    return Fleet(client, ports, tenant, end_user, device)


@pytest.fixture
async def fleet(client: httpx.AsyncClient, ports: Ports, tenant: Tenant) -> Fleet:
    """An end user and a device of theirs, in a project of the test's own."""
    return await make_fleet(client, ports, tenant)
