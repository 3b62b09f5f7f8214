"""What tests of commands do over and over: tell, fetch, report, over real HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

import httpx

from lapel.foundation.core.clock import ManualClock
from tests.support.tenants import Tenant, bearer

Json = dict[str, Any]
serials = (f"SN{number:06d}" for number in count(1))


@dataclass
class Wearer:
    """A project with a bound device, both ends of the wire."""

    client: httpx.AsyncClient
    tenant: Tenant
    clock: ManualClock
    device_id: str
    serial_number: str
    end_user_id: str
    token: str

    @classmethod
    async def begin(cls, client: httpx.AsyncClient, tenant: Tenant, clock: ManualClock) -> Wearer:
        """Register a device and bind it to a new end user."""
        serial = next(serials)
        made = await client.post("/v1/devices", json={"serial_number": serial}, headers=tenant.headers)
        assert made.status_code == 201, made.text
        new = cls(client, tenant, clock, made.json()["id"], serial, "", "")
        await new.bind()
        return new

    async def beside(self) -> Wearer:
        """Another device of the same project, of another end user."""
        return await Wearer.begin(self.client, self.tenant, self.clock)

    async def send(
        self, method: str, path: str, json: Json | None = None, token: str | None = None, **headers: str
    ) -> httpx.Response:
        """A call below the device, by the project's key unless another token is given."""
        return await self.client.request(
            method,
            f"/v1/devices/{self.device_id}{path}",
            json=json,
            headers={**bearer(token or self.tenant.test_key), **headers},
        )

    async def ask(
        self, method: str, path: str, expect: int, json: Json | None = None, token: str | None = None
    ) -> Json:
        """The decoded answer of a call that is answered as expected."""
        answer = await self.send(method, path, json, token)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def bind(self) -> None:
        """Bind it to a new end user."""
        person = await self.client.post("/v1/end-users", headers=self.tenant.headers)
        self.end_user_id = person.json()["id"]
        bound = await self.ask("POST", "/bind", 200, {"end_user_id": self.end_user_id})
        self.token = bound["device_token"]

    async def unbind(self) -> None:
        """Take it back."""
        await self.ask("POST", "/unbind", 200)

    async def tell(self, type: str = "start_recording", **more: Any) -> Json:  # noqa: A002 - the contract's word
        """A new command."""
        return await self.ask("POST", "/commands", 201, {"type": type, **more})

    async def read(self, command_id: str) -> Json:
        """The command as it is."""
        return await self.ask("GET", f"/commands/{command_id}", 200)

    async def list(self, **query: Any) -> list[Json]:
        """One page of commands."""
        answer = await self.client.get(
            f"/v1/devices/{self.device_id}/commands", params=query, headers=self.tenant.headers
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def poll(self) -> list[Json]:
        """What the device has still to do."""
        answer = await self.ask("GET", "/commands/pending", 200, token=self.token)
        assert (answer["has_more"], answer["next_cursor"]) == (False, None)
        return answer["data"]

    async def report(self, command_id: str, expect: int = 200, status: str = "executed", **more: Any) -> Json:
        """What the device says."""
        path = f"/commands/{command_id}/ack"
        return await self.ask("POST", path, expect, {"status": status, **more}, self.token)

    async def cancel(self, command_id: str, expect: int = 200) -> Json:
        """Take a command back."""
        return await self.ask("DELETE", f"/commands/{command_id}", expect)

    def wait(self, **step: float) -> None:
        """Let time go by."""
        self.clock.advance(timedelta(**step))


def ids(commands: list[Json]) -> list[str]:
    """Their ids, in order."""
    return [each["id"] for each in commands]


def message(answer: Json, code: str = "conflict") -> str:
    """What a refusal says."""
    assert answer["error"]["code"] == code, answer
    return answer["error"]["message"]
