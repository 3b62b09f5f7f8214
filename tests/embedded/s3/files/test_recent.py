"""Objects in memory are answered as the file is now, or not at all."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from lapel.embedded.s3.calls.read import read_object
from lapel.embedded.s3.files.folder import Bucket, Folder
from lapel.embedded.s3.files.objects import SMALL, FileWriter, ObjectFacts, delete_object, open_object
from lapel.embedded.s3.files.recent import LIMIT, RecentObjects
from lapel.embedded.s3.protocol.call import SignedCall
from lapel.embedded.s3.protocol.request import Request
from lapel.embedded.s3.protocol.signature import Signed
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.asgi import Message
from lapel.foundation.core.clock import SystemClock
from tests.support.patience import LONG, Deadline

BODY = b"0123456789"


@pytest.fixture(autouse=True)
def page_cache(tmp_path: Path) -> None:
    """Objects are kept only if the system tells whether a file is in its page cache."""
    path = tmp_path / "asked.o"
    write(path)
    try:
        stored = open_object(str(path), wait=False)
        assert stored is not None
        stored.close()
        path.unlink()
    except BlockingIOError:
        pytest.skip("the system (macOS) or the file system (tmpfs) does not tell what is in the page cache")


def later() -> int:
    """A time at which all files of a test are old enough to be kept."""
    return time.time_ns() + 60_000_000_000


def write(path: Path, body: bytes = BODY) -> None:
    with FileWriter(path.parent) as writer:
        writer.write([body])
        facts = ObjectFacts(
            size=len(body),
            etag="e",
            modified=1_768_478_400_123,
            content_type="audio/ogg",
            headers={"cache-control": "private"},
            user={"a": "b"},
            checksums={"sha256": "x"},
        )
        writer.commit(path, facts)


def read(recent: RecentObjects, path: Path) -> bytes | None:
    """The object, from memory if it is there; and into memory."""
    stored = recent.find(str(path))
    if stored is None:
        stored = open_object(str(path), wait=False)
        if stored is None:
            return None
        with stored:
            recent.keep(str(path), stored)
    assert stored.data is not None
    return bytes(stored.data)


def keep(recent: RecentObjects, path: Path, *, wait: bool = False) -> None:
    stored = open_object(str(path), wait=wait)
    assert stored is not None
    with stored:
        recent.keep(str(path), stored)


async def test_an_object_is_kept_until_its_file_changes(tmp_path: Path) -> None:
    recent, path = RecentObjects(later), tmp_path / "a.o"
    write(path)
    assert recent.find(str(path)) is None
    assert read(recent, path) == BODY
    held = recent.find(str(path))
    assert held is not None
    assert held.data == BODY

    write(path, BODY[::-1])  # of the same size
    assert recent.find(str(path)) is None
    assert read(recent, path) == BODY[::-1]
    assert recent.find(str(path)) is not None

    delete_object(path, tmp_path)
    assert recent.find(str(path)) is None
    assert recent.bytes == 0


async def test_a_file_that_gets_the_times_of_the_former_one_is_another_one(tmp_path: Path) -> None:
    recent, path = RecentObjects(later), tmp_path / "a.o"
    write(path)
    read(recent, path)
    seen, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(BODY, BODY[::-1]))  # as a restore may do it
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert recent.find(str(path)) is None
    assert read(recent, path) == BODY[::-1]


async def test_a_file_that_was_just_written_is_not_kept(tmp_path: Path) -> None:
    """The next file of this path may get its inode and, on some file systems, its time."""
    path = tmp_path / "a.o"
    write(path)
    written = path.stat().st_ctime_ns
    recent = RecentObjects(lambda: written + 1_999_000_000)
    read(recent, path)
    assert recent.find(str(path)) is None
    assert recent.bytes == 0
    recent = RecentObjects(lambda: written + 2_000_000_000)
    read(recent, path)
    assert recent.find(str(path)) is not None


async def test_a_file_of_another_machine_is_not_kept(tmp_path: Path) -> None:
    """A look at it may show how it was some seconds ago. It is not in this machine's page cache."""
    recent, path = RecentObjects(later), tmp_path / "a.o"
    write(path)
    keep(recent, path, wait=True)
    assert recent.find(str(path)) is None


async def test_memory_is_bounded(tmp_path: Path) -> None:
    recent = RecentObjects(later)
    paths = [tmp_path / f"{number}.o" for number in range(LIMIT // 200_000 + 10)]
    for path in paths:
        write(path, os.urandom(200_000))
        read(recent, path)
        assert recent.bytes <= LIMIT
    assert recent.bytes > LIMIT - 300_000
    assert recent.find(str(paths[0])) is not None
    assert recent.find(str(paths[-1])) is None
    delete_object(paths[0], tmp_path)
    assert read(recent, paths[0]) is None
    read(recent, paths[-1])
    assert recent.find(str(paths[-1])) is not None


async def test_large_objects_are_not_kept(tmp_path: Path) -> None:
    recent, path = RecentObjects(later), tmp_path / "a.o"
    write(path, b"x" * (SMALL + 1))
    keep(recent, path)
    assert recent.find(str(path)) is None


async def test_memory_is_empty_soon_after_the_last_read(tmp_path: Path) -> None:
    recent = RecentObjects(later, kept_for=0.02)
    end = Deadline(LONG)
    for name in ("a.o", "b.o"):
        write(tmp_path / name)
        read(recent, tmp_path / name)
        assert recent.bytes
        while recent.bytes:
            assert not end.has_passed()
            await asyncio.sleep(0.01)
        assert recent.find(str(tmp_path / name)) is None


async def answer_of(
    folder: Folder, bucket: Bucket, method: str, headers: dict[bytes, bytes], query: bytes
) -> list[Message | str]:
    """The messages of an answer, or the error."""
    answer: list[Message | str] = []

    async def receive() -> Message:
        raise NotImplementedError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": bytes(message["body"])}
        answer.append(message)

    scope = {
        "method": method,
        "path": "/recordings/key",
        "query_string": query,
        "headers": [(b"host", b"localhost"), *headers.items()],
    }
    request = Request(scope, receive, send, "0")
    request.read_target(b"")
    signed = Signed(frozenset({"host"}), "", "", "", b"", "")
    try:
        await read_object(SignedCall(request, signed, folder, bucket, "key", 60, 0))
    except S3Error as error:
        answer.append(f"{error.code} {error.message} {error.headers}")
    return answer


@pytest.mark.parametrize("query", [b"", b"response-content-type=a%2Fb&response-cache-control=no-store"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"range": b"bytes=2-4"},
        {b"range": b"bytes=-3"},
        {b"range": b"bytes=10-"},
        {b"range": b"bytes=1-2,4-5"},
        {b"range": b"bytes=2-4", b"if-range": b'"other"'},
        {b"if-none-match": b'"e"'},
        {b"if-none-match": b'"other"'},
        {b"if-match": b'"other"'},
        {b"if-modified-since": b"Thu, 15 Jan 2026 12:00:00 GMT"},
        {b"if-unmodified-since": b"Thu, 15 Jan 2026 11:00:00 GMT"},
        {b"x-amz-checksum-mode": b"ENABLED"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_answers_are_those_of_the_file(
    tmp_path: Path, method: str, headers: dict[bytes, bytes], query: bytes
) -> None:
    folder = Folder(tmp_path, SystemClock(), 0, 2)
    bucket = folder.bucket("recordings")
    bucket.create()
    path = Path(bucket.path_of("key"))
    write(path)
    folder.recent = RecentObjects(lambda: 0)  # keeps nothing: all files are new
    from_file = await answer_of(folder, bucket, method, headers, query)
    assert folder.recent.bytes == 0
    folder.recent = RecentObjects(later)
    assert await answer_of(folder, bucket, method, headers, query) == from_file
    held = folder.recent.find(str(path))
    assert held is not None
    assert await answer_of(folder, bucket, method, headers, query) == from_file
    assert folder.recent.find(str(path)) is held
    delete_object(path, bucket.tree)
    assert await answer_of(folder, bucket, method, headers, query) == [
        "NoSuchKey There is no object with this key. ()"
    ]
