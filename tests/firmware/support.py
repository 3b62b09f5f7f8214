"""What tests of firmware do over and over: upload, release, register devices, offer, report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from lapel.foundation.ports import Ports
from lapel.foundation.storage import object_names
from tests.support.tenants import Tenant

Json = dict[str, Any]
MODEL = "bota_pin"
_numbers = count(1)

EVENTS = """
SELECT type, convert_from(body, 'UTF8')::json AS body FROM events
WHERE world_id = $1 AND type LIKE 'ota.%' ORDER BY created_at, id
"""


@dataclass(frozen=True)
class Fleet:
    """A tenant's devices and firmware, over one HTTP client."""

    client: httpx.AsyncClient
    tenant: Tenant
    ports: Ports

    async def call(self, method: str, path: str, expect: int, json: Json | None = None, **query: str) -> Json:
        """The decoded answer of one call that is answered as expected."""
        answer = await self.client.request(
            method, path, json=json, params=query or None, headers=self.tenant.headers
        )
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    async def upload(
        self, content: bytes = b"firmware", ufw: bytes | None = None, expect: int = 201, **fields: Any
    ) -> Json:
        """Upload a release; of the usual model and a version of its own unless `fields` say otherwise."""
        fields = {"model": MODEL, "version": f"1.{next(_numbers)}.0", **fields}
        files = {"bin": ("update.bin", content)}
        if ufw is not None:
            files["ufw"] = ("update.ufw", ufw)
        answer = await self.client.post(
            "/v1/firmware-releases", data=fields, files=files, headers=self.tenant.headers, timeout=60
        )
        assert answer.status_code == expect, f"{answer.status_code} {answer.text}"
        return answer.json()

    async def released(self, content: bytes = b"firmware", **fields: Any) -> Json:
        """A release that may be offered."""
        made = await self.upload(content, **fields)
        return await self.call("POST", f"/v1/firmware-releases/{made['id']}/release", 200)

    async def device(self, model: str = MODEL, firmware_version: str = "0.9.0") -> str:
        """A new device's id."""
        made = await self.call(
            "POST",
            "/v1/devices",
            201,
            {"serial_number": f"FW{next(_numbers):06}", "model": model, "firmware_version": firmware_version},
        )
        return made["id"]

    async def devices(self, number: int, **facts: str) -> list[str]:
        """Ids of new devices."""
        return [await self.device(**facts) for _ in range(number)]

    async def assign(self, device_id: str, release_id: str, expect: int = 201, **facts: Any) -> Json:
        """Offer a release to a device."""
        body = {"firmware_release_id": release_id, **facts}
        return await self.call("POST", f"/v1/devices/{device_id}/ota", expect, body)

    async def heartbeat(self, device_id: str, **body: Any) -> Json | None:
        """The update that a heartbeat's answer tells of, if any."""
        return (await self.call("POST", f"/v1/devices/{device_id}/heartbeat", 200, body))["ota"]

    async def current(self, device_id: str) -> Json | None:
        """What a device is offered."""
        return (await self.call("GET", f"/v1/devices/{device_id}/ota", 200))["data"]

    async def history(self, device_id: str) -> list[Json]:
        """What a device was offered."""
        return (await self.call("GET", f"/v1/devices/{device_id}/ota/history", 200))["data"]

    async def roll_out(self, release: Json, expect: int = 201, **facts: Any) -> Json:
        """Begin a rollout of a release."""
        path = f"/v1/firmware-releases/{release['id']}/rollouts"
        return await self.call("POST", path, expect, {"model": release["model"], **facts})

    async def rollout(self, rollout: Json, then: str = "", expect: int = 200) -> Json:
        """A rollout as it is, or what comes of `/pause` or `/resume`."""
        path = f"/v1/firmware-releases/{rollout['firmware_release_id']}/rollouts/{rollout['id']}{then}"
        return await self.call("POST" if then else "GET", path, expect)

    async def until(self, rollout: Json, done: Callable[[Json], bool]) -> None:
        """Wait until the rollout is as wanted."""
        for _ in range(600):
            if done(await self.rollout(rollout)):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(await self.rollout(rollout))

    async def events(self) -> list[tuple[str, Json]]:
        """Type and data of everything that was told of updates."""

        async with self.ports.database.acquire() as connection:
            rows = await connection.fetch(EVENTS, self.tenant.test_world)
        return [(row["type"], json.loads(row["body"])["data"]) for row in rows]

    async def objects(self) -> list[str]:
        """Names of all firmware in the store that is this project's."""
        prefix = f"{object_names.FIRMWARE}{self.tenant.project_id}/"
        return [each.key async for each in self.ports.store.list(prefix)]
