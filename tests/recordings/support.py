"""What tests of recordings do over and over: announce, upload, complete, over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import httpx
import msgspec

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.foundation.storage.client import ObjectStore
from lapel.slices.recordings.service import Recordings
from tests.support.patience import LONG, patience
from tests.support.tenants import Tenant

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

Json = dict[str, Any]
A_KEY = "SELECT id FROM api_keys WHERE world_id = $1"


def sha256(content: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Device:
    """A client of the API that records: one tenant's key, over one HTTP client."""

    client: httpx.AsyncClient
    tenant: Tenant
    headers: dict[str, str]

    async def call(
        self, method: str, path: str, expect: int, json: Json | None = None, /, **headers: str
    ) -> Json:
        """The decoded answer of one call that is answered as expected."""
        answer = await self.client.request(method, path, json=json, headers={**self.headers, **headers})
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    async def post(self, path: str, expect: int, json: Json | None = None, /, **headers: str) -> Json:
        """A POST."""
        return await self.call("POST", path, expect, json, **headers)

    async def end_user(self) -> str:
        """A new end user's id."""
        return (await self.post("/v1/end-users", 201, {}))["id"]

    async def recording(self, **facts: Any) -> str:
        """A new recording's id, of a new end user unless one is given."""
        body = {"end_user_id": await self.end_user(), **facts} if "end_user_id" not in facts else facts
        return (await self.post("/v1/recordings", 201, body))["id"]

    async def read(self, recording_id: str) -> Json:
        """The recording as it is."""
        return await self.call("GET", f"/v1/recordings/{recording_id}", 200)

    async def start(self, recording_id: str, expect: int = 200, **body: Any) -> Json:
        """An upload URL."""
        return await self.post(f"/v1/recordings/{recording_id}/upload-url", expect, body)

    async def put(self, upload: Json, content: bytes, expect: int = 200) -> None:
        """The bytes, as an ordinary HTTP client sends them."""
        answer = await self.client.put(upload["upload_url"], content=content, headers=upload["headers"])
        assert answer.status_code == expect, answer.text

    async def complete(self, recording_id: str, expect: int = 200, **facts: Any) -> Json:
        """Complete the upload."""
        return await self.post(f"/v1/recordings/{recording_id}/upload-complete", expect, facts)

    async def upload(self, content: bytes, **facts: Any) -> tuple[str, str]:
        """A whole upload; the ids of recording and media."""
        recording_id = await self.recording(**facts)
        upload = await self.start(recording_id)
        await self.put(upload, content)
        await self.complete(recording_id)
        return recording_id, upload["media_id"]

    async def link(self, recording_id: str, media_id: str, **body: Any) -> Json:
        """A download link."""
        return await self.post(
            f"/v1/recordings/{recording_id}/download-url", 200, {"media_id": media_id, **body}
        )

    async def download(self, recording_id: str, media_id: str) -> bytes:
        """The bytes that are served."""
        answer = await self.client.get((await self.link(recording_id, media_id))["download_url"])
        assert answer.status_code == 200
        return answer.content


def later(ports: Ports, by: timedelta) -> Recordings:
    """The slice's services as they will be after some time: the same parts under a clock of their own."""
    return Recordings(replace(ports, clock=ManualClock(ports.clock.now() + by)))


async def objects(ports: Ports, prefix: str) -> list[str]:
    """The names of all objects below a prefix."""
    return [each.key async for each in ports.store.list(prefix)]


def staging(device: Device, recording_id: str) -> str:
    """The beginning of the names of a recording's staged objects."""
    return f"staging/{device.tenant.project_id}/{recording_id}/"


async def until_none(ports: Ports, prefix: str) -> None:
    """Wait for the deletion of all objects below a prefix. Raises TimeoutError."""
    async with patience(LONG):
        while await objects(ports, prefix):  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.02)


async def events_of(ports: Ports, world_id: int, resource_id: str) -> list[str]:
    """The types of the events of a resource, in the order of their making."""
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT type FROM events WHERE world_id = $1 AND resource_id = $2 ORDER BY id",
            world_id,
            resource_id,
        )
    return [row["type"] for row in rows]


def actor_of(tenant: Tenant) -> Actor:
    """The tenant's secret key of the test world, as services see it."""
    return Actor(
        kind="key", id="key_test", world_id=tenant.test_world, project_id=tenant.project_id, mode="test"
    )


async def key_of(connection: Connection, tenant: Tenant) -> Actor:
    """The holder of the test world's own key, for what keeps the key's id."""
    key_id: str = await connection.fetchval(A_KEY, tenant.test_world)
    return msgspec.structs.replace(actor_of(tenant), id=key_id)


class HeldStore:
    """The real store, whose reading back waits until it is let go: to look what happens meanwhile."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.reached = asyncio.Event()
        self.let_go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def copy_hashed(self, source: str, target: str, _etag: str) -> str | None:
        """A copy whose hash is not known, as of a store that does not say it."""
        await self._store.copy(source, target)
        return None

    async def sha256_of(self, key: str) -> tuple[int, str]:
        """As of the real store, later."""
        self.reached.set()
        await self.let_go.wait()
        return await self._store.sha256_of(key)


def held(ports: Ports) -> tuple[Recordings, HeldStore]:
    """Services whose completion stops between copy and hash, and what lets it go."""
    store = HeldStore(ports.store)
    return Recordings(replace(ports, store=cast("ObjectStore", store))), store
