"""What a store may answer to a HEAD and to a copy: only the SHA-256 of the whole object is believed."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.foundation.storage.object_info import ObjectInfo
from lapel.foundation.storage.presign import Presigner
from lapel.foundation.storage.store_requests import StoreRequests

DIGEST = hashlib.sha256(b"as it was said")
TOLD = f"<ChecksumSHA256>{b64encode(DIGEST.digest()).decode()}</ChecksumSHA256>"
SOURCE, TARGET, ETAG = "staging/a b", "media/a b", '"0123"'


@asynccontextmanager
async def answering(
    status: int, body: str, more: str = ""
) -> AsyncGenerator[tuple[StoreRequests, list[str]]]:
    """Requests to a store that gives this answer with `more` headers, and the requests that it got."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
        writer.write(f"{head}{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    keys = StaticCredentials(Credentials("key", "secret"))
    requests = StoreRequests(Presigner(url, region="us-east-1", bucket="lapel", credentials=keys), "lapel")
    try:
        yield requests, asked
    finally:
        await requests.close()
        server.close()
        await server.wait_closed()


async def test_it_asks_for_the_hash_of_one_version() -> None:
    async with answering(200, f"<CopyObjectResult>{TOLD}</CopyObjectResult>") as (requests, asked):
        assert await requests.copy(SOURCE, TARGET, ETAG) == DIGEST.hexdigest()
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
    async with answering(200, f"<CopyObjectResult>{said}</CopyObjectResult>") as (requests, _):
        assert await requests.copy(SOURCE, TARGET, ETAG) is None


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, "<Error><Code>InternalError</Code></Error>", StoreUnavailable),
        (200, "<Error></Error>", StoreUnavailable),
        (200, "<CopyObjectResult/><Error></Error>", StoreUnavailable),
        (200, "", StoreUnavailable),
        (200, "<html>maintenance</html>", StoreUnavailable),
        (200, '   <Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></Error>', StoreUnavailable),
        (412, "<Error><Code>PreconditionFailed</Code></Error>", StoreUnavailable),
        (503, "", StoreUnavailable),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", StoreUnavailable),
        (404, "<Error><Code>NoSuchKey</Code></Error>", ObjectMissing),
    ],
)
async def test_what_is_no_copy_is_an_error(status: int, body: str, error: type[Exception]) -> None:
    async with answering(status, body) as (requests, _):
        with pytest.raises(error):
            await requests.copy(SOURCE, TARGET, ETAG)


MODIFIED = "Last-Modified: Sun, 29 Nov 2026 23:32:01 GMT\r\n"


async def test_a_head_says_size_time_and_version() -> None:
    async with answering(200, "", f"{MODIFIED}ETag: {ETAG}\r\n") as (requests, asked):
        found = await requests.head(TARGET)
    assert found == ObjectInfo(TARGET, 0, datetime(2026, 11, 29, 23, 32, 1, tzinfo=UTC), ETAG)
    assert asked[0].startswith("HEAD /lapel/media/a%20b HTTP/1.1")


async def test_an_object_may_have_no_etag() -> None:
    async with answering(200, "", MODIFIED) as (requests, _):
        assert (await requests.head(TARGET)).etag is None


@pytest.mark.parametrize(
    ("status", "more", "error"),
    [
        (404, "", ObjectMissing),
        (403, "", StoreUnavailable),
        (301, "Location: http://127.0.0.1/elsewhere\r\n", StoreUnavailable),
        (503, "", StoreUnavailable),
        (200, "", StoreUnavailable),
        (200, "Last-Modified: yesterday\r\n", StoreUnavailable),
    ],
)
async def test_what_does_not_describe_an_object_is_an_error(
    status: int, more: str, error: type[Exception]
) -> None:
    async with answering(status, "", more) as (requests, _):
        with pytest.raises(error):
            await requests.head(TARGET)


async def test_a_deletion_is_said_to_have_been_done() -> None:
    async with answering(204, "") as (requests, asked):
        await requests.delete(TARGET)
    assert asked[0].startswith("DELETE /lapel/media/a%20b HTTP/1.1")
    for status in (200, 404, 403, 503):
        async with answering(status, "") as (requests, _):
            with pytest.raises(StoreUnavailable):
                await requests.delete(TARGET)


@pytest.mark.parametrize(("bypass", "asks"), [("", 0), ("127.0.0.1", 1)])
async def test_a_proxy_of_the_environment_is_left_to_obstore(
    bypass: str, asks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", bypass)
    async with answering(404, "") as (requests, asked):
        with pytest.raises(ObjectMissing if asks else StoreUnavailable):
            await requests.head(TARGET)
    assert len(asked) == asks
