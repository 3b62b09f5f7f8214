"""Clients that ask for a large object and read it slowly, or not at all."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from lapel.foundation.core.asgi import Message, Scope
from tests.embedded.s3.new_store import open_store

MIB = 1 << 20
SIZE = 3 * MIB


class Reader:
    """Takes what is sent when the test lets it."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.reads, self.gone = asyncio.Event(), asyncio.Event()
        self.sent, self.taken = 0, 0

    def scope(self) -> Scope:
        return {
            "type": "http", "method": "GET", "path": self._url.path, "raw_path": self._url.path.encode(),
            "query_string": self._url.query.encode(), "headers": [(b"host", b"store")],
        }  # fmt: skip

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        piece = message.get("body", b"")
        self.sent += len(piece)
        if piece:
            await self.reads.wait()
        self.taken += len(piece)


async def test_what_slow_readers_have_not_taken_does_not_fill_the_memory(tmp_path: Path) -> None:
    store, signer = open_store(tmp_path)
    now = datetime.now(UTC)
    link = signer.put_url("k", now=now, expires_in=60, content_type="audio/ogg")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(store)) as client:
        assert (await client.put(link.url, content=bytes(SIZE), headers=link.headers)).status_code == 200
    readers = [Reader(signer.get_url("k", now=now, expires_in=60)) for _ in range(100)]
    answers = [asyncio.create_task(store(each.scope(), each.receive, each.send)) for each in readers]
    while not all(each.sent for each in readers):
        await asyncio.wait(answers, timeout=0.01)
    assert sum(each.sent for each in readers) < 10 * MIB
    for each in readers:
        each.reads.set()
    await asyncio.gather(*answers)
    assert {each.taken for each in readers} == {SIZE}
