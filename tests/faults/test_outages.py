"""A part is away: a clear answer meanwhile, nothing lost, and no hand needed when it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import ManualClock
from lapel.hosting.sockets import listen
from tests.faults.conclude import conclude
from tests.faults.journal import Journal, read
from tests.faults.lives import INLINE_BYTES
from tests.faults.load import Load
from tests.faults.processes import process
from tests.faults.stubborn import Stubborn
from tests.support.client import api_client
from tests.support.running import Running, running, settings_for
from tests.support.tenants import Tenant, bearer, make_tenant

CONTENT = b"what was said"


class Owner:
    """Somebody with a key, who records."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client = client
        self.headers = bearer(tenant.test_key)

    async def post(self, path: str, body: object = None) -> httpx.Response:
        """POST to the API."""
        return await self.client.post(f"/v1{path}", json=body or {}, headers=self.headers)

    async def recording(self) -> str:
        """A new one."""
        end_user = (await self.post("/end-users")).json()["id"]
        return (await self.post("/recordings", {"end_user_id": end_user})).json()["id"]

    async def uploaded(self, recording: str, content: bytes = CONTENT) -> str:
        """Bytes in the store, not completed; the media's id."""
        link: dict[str, Any] = (await self.post(f"/recordings/{recording}/upload-url")).json()
        stored = await self.client.put(link["upload_url"], content=content, headers=link["headers"])
        assert stored.status_code == 200
        return link["media_id"]

    async def read(self, recording: str, media: str) -> bytes:
        """What the link serves."""
        link = await self.post(f"/recordings/{recording}/download-url", {"media_id": media})
        return (await self.client.get(link.json()["download_url"])).content


def is_unavailable(answer: httpx.Response) -> bool:
    """503 with a time to come back."""
    code = answer.json()["error"]["code"]
    return (answer.status_code, code) == (503, "unavailable") and int(answer.headers["retry-after"]) >= 1


@asynccontextmanager
async def owner_at(live: Running) -> AsyncGenerator[Owner]:
    """A project of its own on a server."""
    async with api_client(live.url) as client:
        yield Owner(client, await make_tenant(live.ports))


async def test_with_the_store_away_completion_waits_and_links_are_given(
    fresh_database: str, tmp_path: Path
) -> None:
    """As in `lapel serve`: server-side traffic goes to a store process, links to the mounted store."""
    listener = listen("127.0.0.1", 0)[0]
    port: int = listener.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    settings = settings_for(tmp_path, fresh_database, 0, LAPEL_S3_ENDPOINT=endpoint)
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(
            running(tmp_path, fresh_database, clock=None, LAPEL_S3_ENDPOINT=endpoint)
        )
        owner = await stack.enter_async_context(owner_at(live))
        promised, waiting = await owner.recording(), await owner.recording()
        async with process("store", settings, listener=listener):
            media = await owner.uploaded(promised)
            assert (await owner.post(f"/recordings/{promised}/upload-complete")).status_code == 200
        listener.close()
        waiting_media = await owner.uploaded(waiting)
        refused = await owner.post(f"/recordings/{waiting}/upload-complete")
        assert is_unavailable(refused), refused.text
        assert await owner.read(promised, media) == CONTENT
        again = stack.enter_context(listen("127.0.0.1", port)[0])
        async with process("store", settings, listener=again):
            assert (await owner.post(f"/recordings/{waiting}/upload-complete")).status_code == 200
            assert await owner.read(waiting, waiting_media) == CONTENT


async def test_with_the_disk_nearly_full_writes_are_refused_and_reads_answered(
    fresh_database: str, tmp_path: Path
) -> None:
    async with running(tmp_path, fresh_database, clock=None) as live, owner_at(live) as owner:
        recording = await owner.recording()
        media = await owner.uploaded(recording)
        assert (await owner.post(f"/recordings/{recording}/upload-complete")).status_code == 200
    before = files_in(tmp_path / "objects")
    async with (
        running(tmp_path, fresh_database, clock=None, LAPEL_MIN_FREE_BYTES=f"{2**20} GiB") as full,
        api_client(full.url) as client,
    ):
        again = Owner(client, Tenant("", 0, 0, "", owner.headers["Authorization"].removeprefix("Bearer ")))
        assert is_unavailable(await again.post("/end-users"))
        assert is_unavailable(await again.post(f"/recordings/{recording}/upload-url", {"type": "image"}))
        link = full.ports.links.put(
            "staging/a/b/c/d", now=datetime.now(UTC), expires_in=60, content_type="audio/opus"
        )
        assert (await client.put(link.url, content=CONTENT, headers=link.headers)).status_code == 507
        assert files_in(tmp_path / "objects") == before
        shown = await client.get(f"/v1/recordings/{recording}", headers=again.headers)
        assert shown.json()["status"] == "uploaded"
        assert await again.read(recording, media) == CONTENT
        # Deleting makes room.
        gone = await client.delete(f"/v1/recordings/{recording}", headers=again.headers)
        assert gone.status_code == 204


def files_in(folder: Path) -> set[Path]:
    """Every file below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("skew", [timedelta(minutes=4), timedelta(minutes=-4)])
async def test_machines_whose_clocks_differ_by_minutes_work_together(
    fresh_database: str, tmp_path: Path, skew: timedelta
) -> None:
    """Announced on one, uploaded by a link of the other, completed and read on both."""
    wrong = ManualClock(datetime.now(UTC) + skew)
    async with (
        running(tmp_path, fresh_database, clock=None) as one,
        running(tmp_path, fresh_database, clock=wrong) as other,
        owner_at(one) as here,
        api_client(other.url) as client,
    ):
        there = Owner(client, Tenant("", 0, 0, "", here.headers["Authorization"].removeprefix("Bearer ")))
        recording = await here.recording()
        media = await there.uploaded(recording)
        assert (await here.post(f"/recordings/{recording}/upload-complete")).status_code == 200
        assert (await there.post(f"/recordings/{recording}/upload-complete")).status_code == 200
        assert await here.read(recording, media) == await there.read(recording, media) == CONTENT
        listed = await client.get("/v1/recordings", headers=there.headers)
        assert [each["id"] for each in listed.json()["data"]] == [recording]


async def test_a_half_sent_put_is_nothing(fresh_database: str, tmp_path: Path) -> None:
    async with running(tmp_path, fresh_database, clock=None) as live, owner_at(live) as owner:
        recording = await owner.recording()
        link = (await owner.post(f"/recordings/{recording}/upload-url")).json()
        url = httpx.URL(link["upload_url"])
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = (
            f"PUT {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nContent-Length: 1000\r\n"
        )
        writer.write(head.encode() + b"Content-Type: audio/opus\r\n\r\n" + b"x" * 500)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""
        refused = await owner.post(f"/recordings/{recording}/upload-complete")
        assert refused.json()["error"]["code"] == "media_not_uploaded"
        stored = await owner.client.put(link["upload_url"], content=CONTENT, headers=link["headers"])
        assert stored.status_code == 200
        assert (await owner.post(f"/recordings/{recording}/upload-complete")).status_code == 200
        assert await owner.read(recording, link["media_id"]) == CONTENT


@pytest.mark.deep
async def test_a_database_that_restarts_under_load_costs_repeats_and_nothing_else(
    own_postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    listener = listen("127.0.0.1", 0)[0]
    port: int = listener.getsockname()[1]
    data = tmp_path / "data"
    settings = settings_for(data, own_postgres.dsn(), port, LAPEL_INLINE_HASH_BYTES=str(INLINE_BYTES))
    async with running(data, own_postgres.dsn(), clock=None) as live:
        tenant = await make_tenant(live.ports)
    own_postgres.stop()
    async with AsyncExitStack() as stack:
        # They are started first, and wait for it.
        await stack.enter_async_context(process("api", settings, listener=listener))
        await stack.enter_async_context(process("worker", settings))
        http = await stack.enter_async_context(api_client())
        load = Load(Stubborn(http, [f"http://127.0.0.1:{port}"], journal), tenant.test_key, "restart", 3)
        stop = asyncio.Event()
        loading = asyncio.create_task(load.run(stop))
        for _ in range(3):
            own_postgres.start()
            lived = load.lived.total()
            while load.lived.total() < lived + 3:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.02)
            own_postgres.stop()
        own_postgres.start()
        stop.set()
        await loading
    journal.close()
    listener.close()
    async with running(data, own_postgres.dsn(), clock=None) as live:
        assert await conclude(live, tenant, journal) == []
    assert read(journal.path).standing
