"""Large objects as streams of threads, against both stores."""

import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest

from lapel.foundation.storage.credentials import Credentials, StaticCredentials
from lapel.foundation.storage.errors import ObjectCut, ObjectDiffers, ObjectMissing, StoreUnavailable
from lapel.foundation.storage.streams import ObjectStreams, streams_for
from lapel.settings import Settings
from tests.conformance.servers import ACCESS_KEY, BUCKET, SECRET, Endpoint
from tests.support.patience import LONG
from tests.support.ports import free_ports

MIB = 1 << 20


def opened(url: str, folder: Path, secret: str = SECRET, bucket: str = BUCKET) -> ObjectStreams:
    settings = Settings.from_env({}, data_dir=folder, s3_endpoint=url, s3_bucket=bucket)
    return streams_for(settings, StaticCredentials(Credentials(ACCESS_KEY, secret)))


@pytest.fixture
def streams(store: Endpoint, tmp_path: Path) -> ObjectStreams:
    return opened(store.url, tmp_path)


def written(streams: ObjectStreams, key: str, body: bytes, *, sha256: str | None = None) -> bool:
    """Write an object in three sends. Whether the store compared it."""
    sizes = (len(body) // 3, len(body) // 2, len(body))
    with streams.write(key, len(body), sha256 or hashlib.sha256(body).hexdigest()) as upload:
        for start, end in zip((0, *sizes), sizes, strict=False):
            upload.send(memoryview(body)[start:end])
        return upload.finish()


def read(streams: ObjectStreams, key: str, piece: int = MIB) -> bytes:
    buffer, got = memoryview(bytearray(piece)), bytearray()
    with streams.read(key) as reader:
        while size := reader.read_into(buffer):
            got += buffer[:size]
        assert len(got) == reader.size
    return bytes(got)


@pytest.mark.parametrize("size", [1, 5000, 9 * MIB + 1])
def test_what_was_written_is_read(streams: ObjectStreams, key: str, size: int) -> None:
    body = os.urandom(size)
    assert written(streams, key, body) is True
    assert read(streams, key) == body
    assert read(streams, key, 100_001) == body


def test_other_bytes_than_the_hash_says_are_refused(streams: ObjectStreams, ours: Endpoint, key: str) -> None:
    with pytest.raises(ObjectDiffers):
        written(streams, key, os.urandom(5000), sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(ObjectMissing):
        streams.read(key)


@pytest.mark.parametrize("size", [5000, 9 * MIB])
def test_what_is_not_written_to_its_end_is_not_there(streams: ObjectStreams, key: str, size: int) -> None:
    body = os.urandom(size)
    with streams.write(key, size, hashlib.sha256(body).hexdigest()) as upload:
        upload.send(body[:-1])
    with pytest.raises(ObjectMissing):
        streams.read(key)


def test_a_store_that_refuses_says_why(store: Endpoint, tmp_path: Path, key: str) -> None:
    body = os.urandom(5000)
    with pytest.raises(StoreUnavailable, match="SignatureDoesNotMatch"):
        written(opened(store.url, tmp_path, secret="wrong"), key, body)
    with pytest.raises(StoreUnavailable, match="SignatureDoesNotMatch"):
        read(opened(store.url, tmp_path, secret="wrong"), key)
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        read(opened(store.url, tmp_path, bucket="nowhere"), key)
    (port,) = free_ports(1)
    with pytest.raises(StoreUnavailable, match="ConnectionRefused"):
        read(opened(f"http://127.0.0.1:{port}", tmp_path), key)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", ObjectCut),
        (b"HTTP/1.1 200 OK\r\n", StoreUnavailable),
        (b"nonsense\r\n\r\n", StoreUnavailable),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n", StoreUnavailable),
    ],
)
def test_what_a_store_should_not_answer(answer: bytes, error: type[Exception], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                connection.recv(MIB)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(error), opened(url, tmp_path).read("key") as reader:
            reader.read_into(memoryview(bytearray(10)))
        serving.join()


def test_closing_ends_a_thread_that_waits(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        streams = opened(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        upload = streams.write("key", 64 * MIB, hashlib.sha256().hexdigest())
        failed: list[Exception] = []

        def send() -> None:
            try:
                upload.send(bytes(64 * MIB))
            except StoreUnavailable as error:
                failed.append(error)

        sending = threading.Thread(target=send)
        sending.start()
        listener.accept()[0].close()
        upload.close()
        sending.join(LONG)
        assert len(failed) == 1
