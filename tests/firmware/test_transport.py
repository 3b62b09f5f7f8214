"""Uploads of firmware as networks, disks and stores would have them: slow, cut off, refused, too many."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from lapel.foundation.core.admission import Admission, Place
from lapel.slices.firmware.service import Firmware
from tests.firmware.support import MODEL, Fleet
from tests.support.client import api_client
from tests.support.patience import LONG, patience
from tests.support.ports import free_ports
from tests.support.running import running
from tests.support.tenants import make_tenant

BOUNDARY = "frontier"
HEAD = "".join(
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}'
    for name, more, value in (
        ("model", "", f"{MODEL}\r\n"),
        ("version", "", "1.0\r\n"),
        ("bin", '; filename="a.bin"', ""),
    )
).encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()
Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[Fleet]]


class Counted(Admission):
    """An admission that tells how many places it has given."""

    given = 0

    @asynccontextmanager
    async def place(self, world_id: int, units: int = 1) -> AsyncGenerator[Place]:
        async with super().place(world_id, units) as place:
            self.given += 1
            try:
                yield place
            finally:
                self.given -= 1

    async def until_given(self, count: int) -> None:
        """Wait until so many places are given."""
        async with patience(30):
            while self.given < count:  # noqa: ASYNC110 - requests come by themselves
                await asyncio.sleep(0.01)


@pytest.fixture
def opened(fresh_database: str, tmp_path: Path) -> Opener:
    """A server with settings of the test's own, and a tenant of it."""

    @asynccontextmanager
    async def open_(uploads: Admission | None = None, **more: Any) -> AsyncGenerator[Fleet]:
        async with running(tmp_path, fresh_database, **more) as live, api_client(live.url) as client:
            if uploads is not None:
                live.services[Firmware].releases.uploads = uploads
            yield Fleet(client, await make_tenant(live.ports), live.ports)

    return open_


async def send(fleet: Fleet, content: AsyncIterator[bytes]) -> httpx.Response:
    """Upload what comes, as it comes."""
    headers = {**fleet.tenant.headers, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return await fleet.client.post("/v1/firmware-releases", content=content, headers=headers, timeout=LONG)


async def gone(fleet: Fleet) -> None:
    """Nothing is left of an upload, neither object nor row, nor parts of one; soon."""
    uploads = fleet.ports.settings.data_dir / "objects" / fleet.ports.settings.s3_bucket / "uploads"
    left: list[object] = []
    for _ in range(100):
        if not (left := [*await fleet.objects(), *uploads.iterdir()]):
            break
        await asyncio.sleep(0.05)
    assert left == []
    assert (await fleet.call("GET", "/v1/firmware-releases", 200))["data"] == []


@pytest.mark.parametrize("size", [1000, 20 << 20])
async def test_who_hangs_up_leaves_nothing(opened: Opener, size: int) -> None:
    async with opened() as fleet:
        reached = asyncio.Event()

        async def stopping() -> AsyncIterator[bytes]:
            yield HEAD
            for _ in range(0, size, 1000):
                yield bytes(1000)
            reached.set()
            await asyncio.Event().wait()

        sending = asyncio.create_task(send(fleet, stopping()))
        await reached.wait()
        await asyncio.sleep(0.2)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await gone(fleet)


async def test_a_body_that_moves_may_take_long_and_one_that_does_not_may_not(opened: Opener) -> None:
    async def slow(pieces: int, seconds: float) -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(pieces):
            yield os.urandom(2000)
            await asyncio.sleep(seconds)
        yield END

    async with opened(LAPEL_BODY_TIMEOUT="0.5") as fleet:
        answer = await send(fleet, slow(15, 0.1))
        assert (answer.status_code, answer.json()["bin_file_size_bytes"]) == (201, 30_000)
        assert len(await fleet.objects()) == 1
        try:
            answer = await send(fleet, slow(2, 1.5))
        except httpx.TransportError:  # the connection was closed while it slept
            pass
        else:
            assert answer.status_code == 408
        assert len(await fleet.objects()) == 1


async def test_the_limit_is_a_setting(opened: Opener) -> None:
    async with opened(LAPEL_MAX_FIRMWARE_BYTES="1000") as fleet:
        refused = await fleet.upload(bytes(1001), b"ufw", expect=413)
        assert refused["error"]["message"] == "`bin` may have at most 1000 bytes."
        refused = await fleet.upload(bytes(1000), bytes(1001), expect=413)
        assert refused["error"]["param"] == "ufw"
        await gone(fleet)
        await fleet.upload(bytes(1000), bytes(1000))


async def test_a_full_disk_and_a_store_that_is_away_are_503(opened: Opener, tmp_path: Path) -> None:
    async with opened(LAPEL_MIN_FREE_BYTES=f"{2**20} GiB") as fleet:
        refused = await fleet.upload(expect=503)
        assert "nearly full" in refused["error"]["message"]
        await gone(fleet)
    async with opened(LAPEL_S3_ENDPOINT=f"http://127.0.0.1:{free_ports(1)[0]}") as fleet:
        refused = await fleet.upload(expect=503)
        assert "store does not answer" in refused["error"]["message"]
        assert (await fleet.call("GET", "/v1/firmware-releases", 200))["data"] == []


async def test_only_so_many_come_at_once(opened: Opener) -> None:
    uploads = Counted(8, 2, patience=0.1)
    async with opened(uploads) as fleet:
        go_on = asyncio.Event()

        async def held() -> AsyncIterator[bytes]:
            yield HEAD + bytes(1000)
            await go_on.wait()
            yield END

        sending = [asyncio.create_task(send(fleet, held())) for _ in range(2)]
        await uploads.until_given(2)
        refused = await fleet.upload(expect=503)
        assert refused["error"]["message"].startswith("Too many firmware uploads are in progress.")
        other = Fleet(fleet.client, await make_tenant(fleet.ports), fleet.ports)
        await other.upload()  # somebody else's are their own
        go_on.set()
        answers = await asyncio.gather(*sending)
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        await fleet.upload()


async def drip(fleet: Fleet, port: int) -> tuple[asyncio.StreamReader, asyncio.Task[None]]:
    """Upload a few bytes at a time, for ever, over a socket of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    authorization = fleet.tenant.headers["Authorization"]
    writer.write(
        f"POST /v1/firmware-releases HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 10000000\r\n\r\n".encode()
        + HEAD
    )

    async def go_on() -> None:
        try:
            while True:
                writer.write(bytes(100))
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    return reader, asyncio.create_task(go_on())


async def test_two_projects_that_drip_do_not_keep_a_third_from_uploading(opened: Opener) -> None:
    uploads = Counted(4, 2, patience=30, window=0.2)
    async with opened(uploads) as fleet:
        other = Fleet(fleet.client, await make_tenant(fleet.ports), fleet.ports)
        third = Fleet(fleet.client, await make_tenant(fleet.ports), fleet.ports)
        port = fleet.client.base_url.port or 0
        drips = [await drip(each, port) for each in (fleet, fleet, other, other)]
        answers = [asyncio.create_task(reader.readline()) for reader, _ in drips]
        await uploads.until_given(4)
        await asyncio.sleep(0.6)
        assert not any(answer.done() for answer in answers), "nobody waits: they may take their time"
        await third.upload(os.urandom(1 << 20))
        done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        assert {await answer for answer in done} == {b"HTTP/1.1 503 Service Unavailable\r\n"}
        for sending in (*answers, *(sending for _, sending in drips)):
            sending.cancel()
        await asyncio.gather(*answers, *(sending for _, sending in drips), return_exceptions=True)


async def test_one_project_never_has_all_places(opened: Opener) -> None:
    uploads = Counted(3, 2, patience=0.3, window=60)
    async with opened(uploads) as fleet:
        other = Fleet(fleet.client, await make_tenant(fleet.ports), fleet.ports)
        drips = [await drip(fleet, fleet.client.base_url.port or 0) for _ in range(5)]
        await uploads.until_given(2)
        await other.upload()
        for _, sending in drips:
            sending.cancel()
        await asyncio.gather(*(sending for _, sending in drips), return_exceptions=True)
