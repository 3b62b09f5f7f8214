"""Object files: whole or not there, and damage is noticed."""

import asyncio
import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from lapel.embedded.s3.calls.multipart import KEEP_UPLOADS
from lapel.embedded.s3.calls.read import open_existing
from lapel.embedded.s3.endpoint import create_store_app
from lapel.embedded.s3.files.folder import Folder
from lapel.embedded.s3.files.objects import (
    SMALL,
    DamagedObject,
    FileWriter,
    ObjectFacts,
    open_object,
    sweep_temporary,
)
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.asgi import InThread
from lapel.foundation.core.clock import ManualClock, SystemClock

FACTS = ObjectFacts(
    size=5,
    etag="e",
    modified=1_768_478_400_123,
    content_type="audio/ogg",
    headers={"cache-control": "private"},
    user={"a": "ü"},
    checksums={"sha256": "x"},
)


def write(path: Path, body: bytes, facts: ObjectFacts = FACTS) -> None:
    with FileWriter(path.parent) as writer:
        writer.write([body])
        writer.commit(path, facts)


@pytest.mark.parametrize("size", [0, 1, 5, SMALL - 400, SMALL, SMALL + 1, 3 * SMALL])
@pytest.mark.parametrize("talk", [1, 6000])
def test_objects_of_all_sizes_are_read_back(tmp_path: Path, size: int, talk: int) -> None:
    body = os.urandom(size)
    facts = ObjectFacts(size=size, etag="e", modified=1, content_type="a/b", user={"x": "y" * talk})
    write(tmp_path / "a.o", body, facts)
    for wait in (True, False):
        stored = open_object(str(tmp_path / "a.o"), wait=wait)
        assert stored is not None
        with stored:
            assert stored.facts == facts
            assert stored.read(0, size + 100) == body
            assert stored.read(size // 2, 10) == body[size // 2 : size // 2 + 10]
            assert stored.data is None or bytes(stored.data) == body


def test_a_missing_object_is_none(tmp_path: Path) -> None:
    (tmp_path / "file.o").write_bytes(b"")
    for name in ("a.o", "a.d/b.o", "file.o/b.o", "x" * 300 + ".o"):
        assert open_object(str(tmp_path / name)) is None


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.o"
    write(path, b"hello")
    whole = path.read_bytes()
    marks = [
        b"",
        whole[:-1],
        whole[1:],
        whole + b"x",
        b"xx" + whole,
        whole[:10] + b"?" + whole[11:],
        b"\0" * 90,
    ]
    for damaged in marks:
        path.write_bytes(damaged)
        with pytest.raises(DamagedObject):
            open_object(str(path))


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with FileWriter(tmp_path) as writer:
            writer.write([b"half"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_only_new_means_only_new(tmp_path: Path) -> None:
    write(tmp_path / "a.o", b"hello")
    with FileWriter(tmp_path) as writer:
        writer.write([b"other"])
        with pytest.raises(S3Error, match="exists"):
            writer.commit(tmp_path / "a.o", FACTS, only_new=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.o"]
    assert (tmp_path / "a.o").read_bytes().startswith(b"hello")


def test_a_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    write(tmp_path / "a.o", b"first")
    stored = open_object(str(tmp_path / "a.o"))
    assert stored is not None
    write(tmp_path / "a.o", b"other")
    with stored:
        assert stored.read(0, 5) == b"first"


def test_copies_are_whole(tmp_path: Path) -> None:
    body = os.urandom(3 << 20)
    facts = ObjectFacts(size=len(body), etag="e", modified=1, content_type="a/b")
    write(tmp_path / "a.o", body, facts)
    stored = open_object(str(tmp_path / "a.o"))
    assert stored is not None
    with stored, FileWriter(tmp_path) as writer:
        writer.copy_from(stored)
        writer.commit(tmp_path / "b.o", facts)
    assert (tmp_path / "b.o").read_bytes() == (tmp_path / "a.o").read_bytes()


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="this system never copies inside the kernel")
def test_copies_are_whole_where_the_kernel_does_not_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a sandbox without the call, or between mounts; perhaps only after a first part."""
    copy, calls = os.copy_file_range, 0

    def once(source: int, target: int, _count: int, offset: int, end: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return copy(source, target, 1 << 20, offset, end)

    monkeypatch.setattr(os, "copy_file_range", once)
    test_copies_are_whole(tmp_path)
    assert calls == 2


def test_a_sweep_takes_leftovers_and_spares_the_living(tmp_path: Path) -> None:
    with FileWriter(tmp_path) as writer:
        writer.write([b"hello"])
        (tmp_path / "left.tmp").write_bytes(b"killed")
        assert sweep_temporary(tmp_path) == 1
        writer.commit(tmp_path / "a.o", FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.o"]


def test_uploads_in_parts_that_nobody_completes_end(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))

    def start() -> list[Path]:
        create_store_app(tmp_path, {}, clock=clock, buckets=("abc",))
        return list((tmp_path / "abc" / "uploads").iterdir())

    start()
    (tmp_path / "abc" / "uploads" / ("0" * 32)).mkdir()
    assert len(start()) == 1
    clock.advance(timedelta(milliseconds=KEEP_UPLOADS + 60_000))
    assert start() == []


async def test_what_is_not_in_memory_is_read_all_the_same(tmp_path: Path) -> None:
    """The quick way takes the page cache alone; what it lacks is asked of the disk, in a thread."""
    folder = Folder(tmp_path, SystemClock(), 0, 1)
    bucket = folder.bucket("bucket")
    bucket.create()
    body = os.urandom(200_000)
    path = bucket.path_of("k")
    with FileWriter(bucket.temporary) as writer:
        writer.write([body])
        writer.commit(Path(path), ObjectFacts(size=len(body), etag="e", modified=1, content_type="a/b"))
    if hasattr(os, "posix_fadvise"):
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # out of the page cache, where the system obeys
        os.close(fd)
    with await open_existing(folder, bucket, path) as stored:
        assert stored.data is not None
        assert bytes(stored.data) == body


async def test_fast_clients_leave_half_of_the_threads_to_others(tmp_path: Path) -> None:
    folder, going = Folder(tmp_path, SystemClock(), 0, 4), Event()

    async def move(in_thread: InThread) -> int:
        return await in_thread(lambda: int(going.wait(20)))

    moving = [asyncio.create_task(folder.move(move)) for _ in range(5)]
    await asyncio.wait(moving[2:])
    assert await folder.in_thread(lambda: 7) == 7
    going.set()
    assert await asyncio.gather(*moving) == [1, 1, 0, 0, 0]
    assert await folder.move(move) == 1
