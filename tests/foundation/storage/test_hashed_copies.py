"""What a store may answer to a copy: only the SHA-256 of the whole object is believed."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.foundation.storage.hashed_copies import HashedCopies
from lapel.foundation.storage.presign import Presigner

# A Python that starts anew: two copies at once, from a store that does not listen. In which threads is the
# HTTP client imported?
IMPORTS = """
import asyncio, sys, threading
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.hashed_copies import HashedCopies
from lapel.foundation.storage.presign import Presigner

class Noting:
    def find_spec(self, name, path=None, target=None):
        if name in ("aiohttp", "yarl"):
            found.append((name, threading.current_thread() is threading.main_thread()))

async def main():
    keys = StaticCredentials(Credentials("key", "secret"))
    copies = HashedCopies(Presigner("http://127.0.0.1:1", region="r", bucket="b", credentials=keys), "b")
    asked = [copies.copy("staging/a", "media/a", "0") for _ in range(2)]
    failed = await asyncio.gather(*asked, return_exceptions=True)
    await copies.close()
    assert [type(each).__name__ for each in failed] == ["StoreUnavailable"] * 2, failed

found = []
sys.meta_path.insert(0, Noting())
asyncio.run(main())
assert found == [("aiohttp", False), ("yarl", False)], found
"""
DIGEST = hashlib.sha256(b"as it was said")
TOLD = f"<ChecksumSHA256>{b64encode(DIGEST.digest()).decode()}</ChecksumSHA256>"
SOURCE, TARGET, ETAG = "staging/a b", "media/a b", '"0123"'


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncGenerator[tuple[HashedCopies, list[str]]]:
    """Copies in a store that gives this answer, and the requests that it got."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    keys = StaticCredentials(Credentials("key", "secret"))
    copies = HashedCopies(Presigner(url, region="us-east-1", bucket="lapel", credentials=keys), "lapel")
    try:
        yield copies, asked
    finally:
        await copies.close()
        server.close()
        await server.wait_closed()


def test_the_event_loop_does_not_wait_for_the_imports_of_the_first_copy() -> None:
    ended = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


async def test_an_import_that_failed_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(200, f"<CopyObjectResult>{TOLD}</CopyObjectResult>") as (copies, _):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "lapel.foundation.storage.copy_requests", None)
            with pytest.raises(ImportError):
                await copies.copy(SOURCE, TARGET, ETAG)
        assert await copies.copy(SOURCE, TARGET, ETAG) == DIGEST.hexdigest()


async def test_it_asks_for_the_hash_of_one_version() -> None:
    async with answering(200, f"<CopyObjectResult>{TOLD}</CopyObjectResult>") as (copies, asked):
        assert await copies.copy(SOURCE, TARGET, ETAG) == DIGEST.hexdigest()
    [request] = asked
    lines = request.lower().split("\r\n")
    assert request.startswith("PUT /lapel/media/a%20b HTTP/1.1")
    assert "x-amz-copy-source: lapel/staging/a%20b" in lines
    assert f"x-amz-copy-source-if-match: {ETAG}" in lines
    assert "x-amz-checksum-algorithm: sha256" in lines
    signed = next(each for each in lines if each.startswith("authorization"))
    assert (
        "x-amz-checksum-algorithm;x-amz-content-sha256;x-amz-copy-source;x-amz-copy-source-if-match" in signed
    )


@pytest.mark.parametrize(
    "said",
    [
        "<ETag>0</ETag>",
        f"{TOLD}<ChecksumType>COMPOSITE</ChecksumType>",
        TOLD.replace("=</", "=-2</"),
        "<ChecksumSHA256>AAAA</ChecksumSHA256>",
    ],
)
async def test_another_hash_is_none(said: str) -> None:
    async with answering(200, f"<CopyObjectResult>{said}</CopyObjectResult>") as (copies, _):
        assert await copies.copy(SOURCE, TARGET, ETAG) is None


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, "<Error><Code>InternalError</Code></Error>", StoreUnavailable),
        (200, "<Error></Error>", StoreUnavailable),
        (412, "<Error><Code>PreconditionFailed</Code></Error>", StoreUnavailable),
        (503, "", StoreUnavailable),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", StoreUnavailable),
        (404, "<Error><Code>NoSuchKey</Code></Error>", ObjectMissing),
    ],
)
async def test_what_is_no_copy_is_an_error(status: int, body: str, error: type[Exception]) -> None:
    async with answering(status, body) as (copies, _):
        with pytest.raises(error):
            await copies.copy(SOURCE, TARGET, ETAG)
