"""The folder behind the store: its buckets, its threads, and how full its disk may become."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from lapel.embedded.s3.files.durable import make_folders
from lapel.embedded.s3.files.objects import sweep_temporary
from lapel.embedded.s3.files.paths import object_path
from lapel.embedded.s3.files.recent import RecentObjects
from lapel.embedded.s3.s3_errors import S3Error
from lapel.foundation.core.asgi import InThread
from lapel.foundation.core.clock import Clock
from lapel.foundation.core.disk_guard import reserve_of

P = ParamSpec("P")
T = TypeVar("T")

_BUFFER = 1 << 20  # bytes
_PAIRS = 4  # of buffers, for all clients together
_BUCKET = re.compile(r"[a-z0-9](?:-*[a-z0-9])*(?:\.[a-z0-9](?:-*[a-z0-9])*)*")


class Bucket:
    """The folders of one bucket. All are on one file system, so that renames are atomic."""

    __slots__ = ("_prefix", "folder", "name", "temporary", "tree", "uploads")

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.folder = root / name
        self.tree = self.folder / "objects"
        self.temporary = self.folder / "temporary"
        self.uploads = self.folder / "uploads"
        self._prefix = f"{self.tree}/"

    def exists(self) -> bool:
        """Whether the bucket was created (its tree is made last)."""
        return self.tree.is_dir()

    def path_of(self, key: str) -> str:
        """Return the path of an object's file."""
        return self._prefix + object_path(key)

    def create(self) -> None:
        """Make the bucket; harmless when repeated."""
        for folder in (self.temporary, self.uploads, self.tree):
            make_folders(folder)


class Buffers:
    """Memory for bodies of fast clients, which is used again. It comes in pairs: one buffer is written to the
    disk while the other is filled.
    """

    def __init__(self) -> None:
        self._free: list[list[memoryview]] = []
        self._made = 0

    def take(self) -> list[memoryview] | None:
        """A pair, or None when all are in use."""
        if self._free:
            return self._free.pop()
        if self._made == _PAIRS:
            return None
        self._made += 1
        return [memoryview(bytearray(_BUFFER)) for _ in range(2)]

    def give_back(self, pair: list[memoryview]) -> None:
        """Let others have the pair."""
        self._free.append(pair)


class Folder:
    """The state that all requests of one application share. This state is only a cache, because other
    processes may serve and change the same folder at the same time.
    """

    def __init__(self, root: Path, clock: Clock, min_free_bytes: int, threads: int) -> None:
        self.root = root.absolute()
        make_folders(self.root)
        self.clock = clock
        self._min_free = min_free_bytes
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self.buffers = Buffers()
        self.recent = RecentObjects()
        self.waiting = 0
        """Bytes of memory that batches of bodies take while they are being filled."""
        self._most_moving = threads // 2
        self._moving = 0
        self._buckets: dict[str, Bucket] = {}
        for bucket in self.buckets():
            sweep_temporary(bucket.temporary)

    def buckets(self) -> list[Bucket]:
        """Return all buckets by name."""
        names = sorted(entry.name for entry in self.root.iterdir() if valid_bucket(entry.name))
        return [bucket for bucket in map(self.bucket, names) if bucket.exists()]

    def bucket(self, name: str) -> Bucket:
        """Return a bucket, which may not exist. Raises `S3Error` for an invalid bucket name."""
        bucket = self._buckets.get(name)
        if bucket is None:
            if not valid_bucket(name):
                raise S3Error("InvalidBucketName", "A bucket's name has 3 to 63 of a-z, 0-9, - and .")
            if len(self._buckets) >= 1024:
                self._buckets.clear()
            bucket = self._buckets[name] = Bucket(self.root, name)
        return bucket

    def now(self) -> int:
        """Return milliseconds since 1970."""
        return int(self.clock.now().timestamp() * 1000)

    def require_space(self, coming: int) -> None:
        """Raise `S3Error` InsufficientStorage if `coming` more bytes would leave the disk too full.

        The configured bytes or 5 % of the file system stay free, whichever is more.
        """
        disk = os.statvfs(self.root)
        reserve = reserve_of(disk.f_blocks * disk.f_frsize, self._min_free)
        if disk.f_bavail * disk.f_frsize - coming < reserve:
            raise S3Error("InsufficientStorage", "The disk is nearly full; nothing was written.")

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that may wait for the disk. A cancelled call still waits for the function to end,
        because its files must stay open until then.
        """
        future = asyncio.wrap_future(self._threads.submit(function, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue
            future.exception()  # read, or asyncio would log that it never was
            raise

    async def move(self, slice_of: Callable[[InThread], Awaitable[int]]) -> int:
        """Move bytes between a client and a file in a thread. Returns 0, at once, if that would leave too few
        threads for other requests.
        """
        if self._moving >= self._most_moving:
            return 0
        self._moving += 1
        try:
            return await slice_of(self.in_thread)
        finally:
            self._moving -= 1


def valid_bucket(name: str) -> bool:
    """Whether a bucket and its folder may have this name ("Bucket naming rules" of S3)."""
    return 3 <= len(name) <= 63 and _BUCKET.fullmatch(name) is not None
