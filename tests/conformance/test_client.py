"""The server's own client, against both stores: what it does, and what it says when it cannot."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lapel.foundation.storage.client import ObjectStore, open_store
from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.settings import Settings
from tests.conformance.servers import ACCESS_KEY, BUCKET, SECRET, Endpoint
from tests.support.ports import free_ports

MIB = 1 << 20


def opened(url: str, folder: Path, secret: str = SECRET, bucket: str = BUCKET) -> ObjectStore:
    settings = Settings.from_env({}, data_dir=folder, s3_endpoint=url, s3_bucket=bucket)
    return open_store(settings, StaticCredentials(Credentials(ACCESS_KEY, secret)))


@asynccontextmanager
async def relay(url: str) -> AsyncGenerator[tuple[str, list[bytearray]]]:
    """The URL of a way to the store, and what clients send on it, by connection."""
    sent: list[bytearray] = []
    writers: list[asyncio.StreamWriter] = []
    ending: list[asyncio.Future[tuple[None, None]]] = []
    parts = urlsplit(url)

    async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, seen: bytearray) -> None:
        with suppress(ConnectionError):
            while data := await source.read(MIB):
                seen += data
                to.write(data)
                await to.drain()
        to.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_store, to_store = await asyncio.open_connection(parts.hostname, parts.port)
        sent.append(bytearray())
        writers.extend((writer, to_store))
        both = asyncio.gather(pass_on(reader, to_store, sent[-1]), pass_on(from_store, writer, bytearray()))
        ending.append(both)
        await both

    server = await asyncio.start_server(connect, "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", sent
    finally:
        server.close()
        for each in writers:
            each.close()
        await asyncio.gather(*ending)


@pytest.fixture
async def objects(store: Endpoint, tmp_path: Path) -> AsyncGenerator[ObjectStore]:
    client = opened(store.url, tmp_path)
    yield client
    await client.close()


async def test_write_look_copy_delete(objects: ObjectStore, key: str) -> None:
    await objects.put(key, b"hello")
    found = await objects.head(key)
    assert (found.key, found.size, found.last_modified.tzinfo is not None) == (key, 5, True)
    await objects.copy(key, f"{key}-copy")
    await objects.delete(key)
    await objects.delete(key)
    with pytest.raises(ObjectMissing):
        await objects.head(key)
    assert await objects.get_range(f"{key}-copy", 1, 3) == b"ell"
    assert await objects.get_range(f"{key}-copy", 3, 100) == b"lo"


@pytest.mark.parametrize("size", [0, 5, 3 * MIB])
async def test_a_copy_is_hashed_by_a_store_that_can(
    objects: ObjectStore, store: Endpoint, key: str, size: int
) -> None:
    body, copy = os.urandom(size), f"{key}-copy"
    await objects.put(key, body)
    told = await objects.copy_hashed(key, copy, (await objects.head(key)).etag or "")
    assert told == (hashlib.sha256(body).hexdigest() if store.kind == "embedded" else None)
    assert await objects.sha256_of(copy) == (size, hashlib.sha256(body).hexdigest())
    await objects.delete_many([key, copy])


async def test_a_copy_of_what_was_replaced_is_not_made(objects: ObjectStore, key: str) -> None:
    await objects.put(key, b"before")
    etag = (await objects.head(key)).etag or ""
    await objects.put(key, b"after it")
    with pytest.raises(StoreUnavailable):
        await objects.copy_hashed(key, f"{key}-copy", etag)
    with pytest.raises(ObjectMissing):
        await objects.head(f"{key}-copy")
    await objects.delete(key)
    with pytest.raises(ObjectMissing):
        await objects.copy_hashed(key, f"{key}-copy", etag)


@pytest.mark.parametrize("sizes", [[], [5], [MIB] * 3, [300_000] * 90, [8 * MIB, 8 * MIB], [17 * MIB]])
async def test_an_object_is_written_piece_by_piece(objects: ObjectStore, key: str, sizes: list[int]) -> None:
    pieces = [os.urandom(size) for size in sizes]
    async with objects.writing(key) as target:
        for piece in pieces:
            await target.write(piece)
    body = b"".join(pieces)
    assert await objects.sha256_of(key) == (len(body), hashlib.sha256(body).hexdigest())
    await objects.delete(key)


@pytest.mark.parametrize("size", [5, 40 * MIB])
async def test_what_is_not_written_to_its_end_is_not_there(
    objects: ObjectStore, store: Endpoint, key: str, size: int
) -> None:
    async def write() -> None:
        async with objects.writing(key) as target:
            for _ in range(0, size, MIB):
                await target.write(os.urandom(min(size, MIB)))
            begun.set()
            await held.wait()
            raise LookupError("enough")

    for cancel in (False, True):
        begun, held = asyncio.Event(), asyncio.Event()
        writing = asyncio.create_task(write())
        await begun.wait()
        if cancel:
            writing.cancel()
        held.set()
        with pytest.raises(asyncio.CancelledError if cancel else LookupError):
            await writing
        with pytest.raises(ObjectMissing):
            await objects.head(key)
        uploads = store.client().list_multipart_uploads(Bucket=BUCKET) if store.kind != "embedded" else {}
        assert not [each for each in uploads.get("Uploads", []) if each["Key"] == key]


async def test_writing_to_a_store_that_is_away_says_so(tmp_path: Path) -> None:
    objects = opened(f"http://127.0.0.1:{free_ports(1)[0]}", tmp_path)
    with pytest.raises(StoreUnavailable):
        async with objects.writing("some/object") as target:
            await target.write(b"hello")


async def test_what_is_missing_is_said_to_be(objects: ObjectStore, key: str) -> None:
    for call in (
        objects.head(key),
        objects.copy(key, f"{key}-copy"),
        objects.get_range(key, 0, 10),
        objects.sha256_of(key),
    ):
        with pytest.raises(ObjectMissing):
            await call


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 3 * MIB - 1])
async def test_hashes_are_of_what_is_read_back(objects: ObjectStore, key: str, size: int) -> None:
    body = os.urandom(size)
    await objects.put(key, body)
    assert await objects.sha256_of(key) == (size, hashlib.sha256(body).hexdigest())
    await objects.delete(key)


@pytest.mark.deep
async def test_more_than_a_page_is_listed_and_deleted(objects: ObjectStore, key: str) -> None:
    names = [f"{key}/{number:04d}" for number in range(1005)]
    for start in range(0, len(names), 16):
        await asyncio.gather(*(objects.put(name, b"x") for name in names[start : start + 16]))
    await objects.put(f"{key}-neighbour", b"x")
    assert [each.key async for each in objects.list(f"{key}/")] == names
    after = [each.key async for page in objects.pages(f"{key}/", after=names[1000]) for each in page]
    assert after == names[1001:]
    await objects.delete_many([*names[:-1], f"{key}/never"])
    assert [each.key async for each in objects.list(f"{key}/")] == names[-1:]
    assert (await objects.head(f"{key}-neighbour")).size == 1


async def test_an_empty_listing(objects: ObjectStore, key: str) -> None:
    assert [each async for each in objects.list(f"{key}/nothing/")] == []


async def test_a_wrong_secret_is_no_missing_object(store: Endpoint, tmp_path: Path, key: str) -> None:
    stranger = opened(store.url, tmp_path, "wrong-secret")
    for call in (stranger.head(key), stranger.put(key, b"x"), stranger.delete(key), stranger.sha256_of(key)):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable):
        [each async for each in stranger.list("")]


async def test_a_store_that_is_away_is_said_to_be_in_bounded_time(tmp_path: Path) -> None:
    [port] = free_ports(1)
    away = opened(f"http://127.0.0.1:{port}", tmp_path)
    start = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await away.head("key")
    with pytest.raises(StoreUnavailable):
        [each async for each in away.list("")]
    with pytest.raises(StoreUnavailable):
        await away.delete_many(["a", "b"])
    assert time.monotonic() - start < 40  # five seconds of trying each, and a slow machine


async def test_a_bucket_that_is_away_is_no_missing_object(ours: Endpoint, tmp_path: Path) -> None:
    away = opened(ours.url, tmp_path, bucket="no-such-bucket")
    for call in (away.put("key", b"x"), away.copy("a", "b"), away.get_range("a", 0, 1), away.delete("a")):
        with pytest.raises(StoreUnavailable, match="bucket"):
            await call
    with pytest.raises(StoreUnavailable, match="bucket"):
        [each async for each in away.list("")]
