"""A body is on the disk when it is answered, also if the disk fails while more bytes come."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx
import pytest

from lapel.embedded.s3.files import folder
from lapel.embedded.s3.protocol import body
from lapel.foundation.core.asgi import CONNECTION, App, InThread, Receive, Scope, Send
from tests.embedded.s3.new_store import open_store
from tests.support.patience import LONG, LOOK, patience

MIB = 1 << 20


async def put(root: Path, content: bytes, around: Callable[[App], App] = lambda store: store) -> int:
    """The status of a PUT into a new store, piece by piece."""
    store, signer = open_store(root)
    link = signer.put_url("k", now=datetime.now(UTC), expires_in=60, content_type="audio/ogg")
    headers = {**link.headers, "Content-Length": str(len(content))}

    async def pieces() -> AsyncGenerator[bytes]:
        for at in range(0, len(content), MIB):
            yield content[at : at + MIB]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(around(store))) as client:
        return (await client.put(link.url, content=pieces(), headers=headers)).status_code


@pytest.mark.parametrize("failing", [None, 1, 3])
async def test_the_disk_writes_while_more_comes(
    failing: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []

    def sync(fd: int) -> None:
        syncs.append(fd)
        if len(syncs) == failing:
            raise OSError(errno.EIO, "the disk fails, and tells it once")

    monkeypatch.setattr(body, "_SYNC", 2 * MIB)
    monkeypatch.setattr(body, "sync_file", sync)
    assert await put(tmp_path, bytes(7 * MIB + 1)) == (200 if failing is None else 500)
    stored = [path.name for path in (tmp_path / "recordings").rglob("*") if path.suffix in {".o", ".tmp"}]
    assert stored == (["k.o"] if failing is None else [])
    assert len(syncs) == (failing or 3)


async def test_bodies_that_stop_before_a_batch_is_full_wait_on_the_disk(tmp_path: Path) -> None:
    """Each client has sent less than a thread takes at once. Together they would fill the memory."""
    store, signer = open_store(tmp_path)
    now, rest = datetime.now(UTC), asyncio.Event()
    first, count = MIB - 1024, 80

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(4):
            yield bytes(first // 4)
        await rest.wait()
        yield bytes(1024)

    def kept() -> int:
        return sum(path.stat().st_size for path in (tmp_path / "recordings" / "temporary").iterdir())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(store)) as client:
        puts: list[asyncio.Task[httpx.Response]] = []
        for number in range(count):
            link = signer.put_url(str(number), now=now, expires_in=60, content_type="audio/ogg")
            headers = {**link.headers, "Content-Length": str(MIB)}
            puts.append(asyncio.create_task(client.put(link.url, content=pieces(), headers=headers)))
        async with patience(LONG, kept):
            while kept() < (count - 40) * first:  # noqa: ASYNC110 - nothing tells when a file grows
                await asyncio.sleep(LOOK)
        rest.set()
        assert [each.status_code for each in await asyncio.gather(*puts)] == [200] * count
    assert kept() == 0


class _Fast:
    """A client that sends most of its body faster than the event loop, on the connection of its request."""

    def __init__(self, store: App, content: bytes, parts: list[int]) -> None:
        self._store, self._content, self._at, self._parts = store, content, 0, parts

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        async def rest() -> dict[str, object]:
            piece = self._content[self._at : self._at + MIB]
            self._at += len(piece)
            return {"type": "http.request", "body": piece, "more_body": self._at < len(self._content)}

        await self._store({**scope, CONNECTION: self}, rest, send)

    def direct(self) -> Self:
        return self

    def answer(self, *_: object) -> bool:
        return False  # `send` does it

    async def receive_into(self, buffer: memoryview, in_thread: InThread) -> int:
        def read() -> int:
            size = self._parts.pop() if self._parts else 0
            buffer[:size] = self._content[self._at : self._at + size]
            self._at += size
            return size

        return await in_thread(read)


@pytest.mark.parametrize("short", [0, 1])
async def test_a_body_that_is_read_without_the_event_loop_is_stored_whole(
    short: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_PAIRS", 1)  # taken again after each pause of the client
    content, parts = os.urandom(9 * MIB), [1000, 300_000, MIB, 17, MIB, MIB, MIB]
    assert await put(tmp_path, content, lambda store: _Fast(store, content[short:], parts)) == (
        400 if short else 200
    )
    assert not parts
    stored = [path for path in (tmp_path / "recordings").rglob("*") if path.suffix in {".o", ".tmp"}]
    assert [path.read_bytes()[: len(content)] for path in stored] == ([] if short else [content])


async def test_buffers_are_few_and_a_body_that_fails_gives_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffers = folder.Buffers()
    pairs = [buffers.take() for _ in range(20)]
    assert sum(pair is not None for pair in pairs) <= 4
    monkeypatch.setattr(folder, "Buffers", lambda: buffers)
    monkeypatch.setattr(buffers, "take", lambda: pairs[0])
    given: list[object] = []
    monkeypatch.setattr(buffers, "give_back", given.append)
    too_much = [2 * MIB, MIB]  # the second does not fit into a buffer
    assert await put(tmp_path, bytes(9 * MIB), lambda store: _Fast(store, bytes(9 * MIB), too_much)) == 500
    assert given == [pairs[0]]
