"""One object is one file: its bytes, then its facts, then a short end mark.

    bytes 0 .. size          the object's own bytes, so that the file can be played or rescued as it is
    then                     JSON: type, ETag, checksums, time, user metadata (`ObjectFacts`)
    last 16 bytes            magic, length of the JSON, CRC-32 of the JSON

A file is written under a temporary name, synced, renamed to its final name, and never changed afterwards. So
bytes and facts appear together or not at all, an open file is a consistent snapshot, and readers need no
lock.

Sources: rename(2), flock(2), preadv2(2) (RWF_NOWAIT) and copy_file_range(2) of the Linux man-pages.
"""

import errno
import fcntl
import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from zlib import crc32

import msgspec

from lapel.embedded.s3.files.durable import make_folders, prune_folders, sync_file, sync_folder
from lapel.embedded.s3.s3_errors import S3Error

SMALL = 256 * 1024
"""Bytes. Files up to this size are read at once, larger files in pieces."""

_MAGIC = b"LAPELOB1"
_END = struct.Struct("<8sII")
_TAIL = 4096  # bytes read at once; they hold the facts of nearly all objects
# Bytes written at once. ext4 takes 0.2 ns of CPU time for a byte; with 1 MiB at once it is up to 0.8.
_WRITE = 256 * 1024
# The errors of copy_file_range if a file system, a sandbox or an old kernel does not support it.
_NOT_IN_KERNEL = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.EPERM})
_NOWAIT = getattr(os, "RWF_NOWAIT", None)


class ObjectFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The properties of an object besides its bytes. `modified`: milliseconds since 1970."""

    size: int
    etag: str
    modified: int
    content_type: str
    headers: dict[str, str] = {}
    """Further headers, such as Cache-Control. Names are in lower case; values are as the client sent them."""
    user: dict[str, str] = {}
    """The x-amz-meta-* headers; the names are without this prefix."""
    checksums: dict[str, str] = {}
    """The checksum in Base64, by the name of its algorithm: sha256, sha1, crc32."""


_decoder = msgspec.json.Decoder(ObjectFacts)
_encoder = msgspec.json.Encoder()


class FileVersion(NamedTuple):
    """What tells a file from every earlier and later one of the same path."""

    inode: int
    size: int
    changed: int
    """Nanoseconds since 1970. No program can set this time, so a restored file has a new one, too."""

    def is_of(self, seen: os.stat_result) -> bool:
        """Whether the file that was looked at has this version."""
        return seen.st_ctime_ns == self.changed and seen.st_ino == self.inode and seen.st_size == self.size


class DamagedObject(Exception):
    """A file in the tree of objects has no valid end mark; the path is the argument."""


class StoredObject:
    """An object opened for reading: a snapshot that later writes and deletes do not touch."""

    __slots__ = ("data", "facts", "fd", "version")

    def __init__(
        self, fd: int, facts: ObjectFacts, data: memoryview | None, version: FileVersion | None
    ) -> None:
        self.fd = fd
        self.facts = facts
        self.data = data
        """All bytes of a small object; None if the object must be read in pieces."""
        self.version = version
        """None if the file was not in this machine's page cache. It may be on another machine; then a look at
        it may show how it was some seconds ago."""

    def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes from `offset` of the object; may wait for the disk."""
        return os.pread(self.fd, min(length, self.facts.size - offset), offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_object(path: str, *, wait: bool = True) -> StoredObject | None:
    """Open the object in a file, or return None if there is none.

    With `wait=False` the content comes only from the page cache. Then it raises `BlockingIOError` when the
    disk would have to be read, and always on a system that cannot tell. Raises `DamagedObject` when the file
    has no valid end mark.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # such a key cannot have been written
            return None
        raise
    try:
        return _read_object(fd, path, wait=wait)
    except BaseException:
        os.close(fd)
        raise


def _read_object(fd: int, path: str, *, wait: bool) -> StoredObject:
    seen = os.fstat(fd)
    length = seen.st_size
    start = 0 if length <= SMALL else length - _TAIL
    tail = _read(fd, length - start, start, wait=wait)
    facts, facts_length = _facts(path, tail)
    if facts is None and facts_length <= length:
        facts, _ = _facts(path, _read(fd, facts_length, length - facts_length, wait=wait))
    if facts is None or facts.size != length - facts_length:
        raise DamagedObject(path)
    data = memoryview(tail)[: facts.size] if start == 0 else None
    version = None if wait else FileVersion(seen.st_ino, length, seen.st_ctime_ns)
    return StoredObject(fd, facts, data, version)


def _read(fd: int, length: int, offset: int, *, wait: bool) -> bytes | bytearray:
    if wait:
        return os.pread(fd, length, offset)
    if _NOWAIT is None:
        raise BlockingIOError
    buffer = bytearray(length)
    try:
        got = os.preadv(fd, [buffer], offset, _NOWAIT)
    except OSError as error:  # EAGAIN, or a file system that does not know the flag
        raise BlockingIOError from error
    if got != length:
        raise BlockingIOError
    return buffer


def _facts(path: str, tail: bytes | bytearray) -> tuple[ObjectFacts | None, int]:
    """Return the facts (None if `tail` is too short), and how many bytes follow the object's own bytes."""
    if len(tail) < _END.size:
        raise DamagedObject(path)
    magic, length, checksum = _END.unpack_from(tail, len(tail) - _END.size)
    total = length + _END.size
    if magic != _MAGIC:
        raise DamagedObject(path)
    if total > len(tail):
        return None, total
    text = memoryview(tail)[len(tail) - total : len(tail) - _END.size]
    if crc32(text) != checksum:
        raise DamagedObject(path)
    return _decoder.decode(text), total


class FileWriter:
    """An object that is being written. Every method may wait for the disk, so it runs in a thread.

    The temporary file is locked as long as its writer lives. A sweep tries the lock: the lock is free if the
    writer was killed, and held if another process is writing.
    """

    def __init__(self, temporary: Path) -> None:
        while True:
            self._path = temporary / f"{secrets.token_hex(16)}.tmp"
            self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if _lock(self.fd) and os.fstat(self.fd).st_nlink == 1:
                break
            os.close(self.fd)  # a sweep removed it as a leftover in the moment before the lock
        self._open = True

    def write(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """Append some bytes."""
        with os.fdopen(self.fd, "ab", buffering=0, closefd=False) as file:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[file.write(rest[:_WRITE]) :]

    def copy_from(self, source: StoredObject) -> None:
        """Append all bytes of another object; the kernel copies them where it can.

        Raises `DamagedObject` when the source is shorter than its facts say.
        """
        offset, size = 0, source.facts.size
        end = os.lseek(self.fd, 0, os.SEEK_END)
        in_kernel = hasattr(os, "copy_file_range")
        while offset < size:
            if in_kernel:
                try:
                    done = os.copy_file_range(source.fd, self.fd, min(size - offset, 1 << 26), offset, end)
                except OSError as error:
                    if error.errno not in _NOT_IN_KERNEL:
                        raise
                    in_kernel = False
                    continue
            else:
                done = os.pwrite(self.fd, source.read(offset, 1 << 20), end)
            if done == 0:
                raise DamagedObject(self._path)
            offset, end = offset + done, end + done

    def pieces(self) -> Iterator[bytes]:
        """The bytes that were written so far, in pieces of 1 MiB at most."""
        offset = 0
        while piece := os.pread(self.fd, 1 << 20, offset):
            yield piece
            offset += len(piece)

    def commit(self, destination: Path, facts: ObjectFacts, *, only_new: bool = False) -> None:
        """Make the object visible at `destination`, durably.

        Raises `S3Error` KeyTooLongError when the path is too long for the file system, and with `only_new`
        PreconditionFailed when the object exists already. Raises FileNotFoundError when deletes have removed
        the new folder before each of a hundred tries.
        """
        text = _encoder.encode(facts)
        self.write([text, _END.pack(_MAGIC, len(text), crc32(text))])
        # The new folders come before the first sync: a journal takes all changes before a sync with it, so
        # the syncs of the folders, after the rename, find little to do.
        _make_or_refuse(destination.parent)
        sync_file(self.fd)
        for _ in range(100):  # a delete may prune the empty folder between its making and our rename
            try:
                self._place(destination, only_new=only_new)
            except FileNotFoundError:
                _make_or_refuse(destination.parent)
            else:
                break
        else:
            raise FileNotFoundError(destination)
        with suppress(FileNotFoundError):  # already deleted by another request, and its folder pruned
            sync_folder(destination.parent)
        self.close()

    def _place(self, destination: Path, *, only_new: bool) -> None:
        try:
            if only_new:
                destination.hardlink_to(self._path)
                self._path.unlink()
            else:
                self._path.replace(destination)
        except FileExistsError:
            raise S3Error("PreconditionFailed", "An object with this key exists.") from None

    def close(self) -> None:
        """Close the file, and remove it unless it was committed. Harmless when repeated."""
        if self._open:
            self._open = False
            with suppress(FileNotFoundError):
                self._path.unlink()
            os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_or_refuse(folder: Path) -> None:
    try:
        make_folders(folder, durably=False)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise S3Error("KeyTooLongError", "The key is too long for this file system.") from None
        if not isinstance(error, FileNotFoundError):
            raise


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def delete_object(path: Path, tree: Path) -> None:
    """Remove an object (it may be missing) durably, and the folders below `tree` that are empty then."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
        prune_folders(path.parent, tree)


def sweep_temporary(temporary: Path) -> int:
    """Remove the temporary files of killed writers, but none of living writers; return their number."""
    removed = 0
    for path in temporary.glob("*.tmp"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if _lock(fd):
                path.unlink(missing_ok=True)
                removed += 1
        finally:
            os.close(fd)
    return removed
