"""A project's devices over HTTP, as the tests here use them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.tenants import Tenant


class Registry:
    """Calls with the project's secret key."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client = client
        self.tenant = tenant

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Any call below /v1."""
        return await self.client.request(method, f"/v1{path}", json=body, headers=self.tenant.headers)

    async def get(self, path: str) -> Any:
        """What GET answers."""
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def device(self, serial: str, **facts: Any) -> str:
        """The id of a new device."""
        answer = await self.ask("POST", "/devices", {"serial_number": serial, **facts})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def bound(self, serial: str) -> dict[str, Any]:
        """A new device, bound to a new end user; with its token."""
        device = await self.device(serial)
        person = (await self.ask("POST", "/end-users")).json()
        answer = await self.ask("POST", f"/devices/{device}/bind", {"end_user_id": person["id"]})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def registry(client: httpx.AsyncClient, tenant: Tenant) -> Registry:
    return Registry(client, tenant)
