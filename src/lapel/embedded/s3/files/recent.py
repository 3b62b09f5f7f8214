"""Small objects that were read a moment ago, in memory.

A client that asks for such an object again gets it after one look at its file, which is neither opened nor
read. The look compares the file with the one that was read, because other processes, restores and people may
change the folder. So an object that was replaced or deleted is never answered from here.

Source: stat(2) of the Linux man-pages.
"""

import asyncio
import os
import time
from collections.abc import Callable

from lapel.embedded.s3.files.objects import FileVersion, StoredObject

LIMIT = 16 << 20
"""Bytes of all objects together."""
_EACH = 2048  # bytes that an object takes besides its file
KEPT_FOR = 10
"""Seconds. A store that is idle holds no objects, and a deleted object does not stay in memory."""
# Nanoseconds. A file system may note times in whole seconds. A file that is older than this has another time
# than each later file, even if a later file gets the inode of the deleted one, and has its size.
_SETTLED = 2_000_000_000


class RecentObjects:
    """The objects that this process read in its event loop.

    `wall`: the system's time, in nanoseconds; files get their times from it. An object is kept for `kept_for`
    seconds, and up to half as long again.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, kept_for: float = KEPT_FOR) -> None:
        self._wall = wall
        self._kept_for = kept_for
        # By path, in the order in which they came: with the version of the file, and the loop's time.
        self._objects: dict[str, tuple[StoredObject, FileVersion, float]] = {}
        self.bytes = 0
        self._timer = False

    def find(self, path: str) -> StoredObject | None:
        """The object whose file is at `path` now, if it is here. Only its `facts` and `data` are of use."""
        held = self._objects.get(path)
        if held is None:
            return None
        stored, version, _ = held
        try:
            if version.is_of(os.stat(path)):  # noqa: PTH116 - to make a Path takes longer
                return stored
        except OSError:
            pass  # deleted; or the usual way finds out
        self._drop(path)
        return None

    def keep(self, path: str, stored: StoredObject) -> None:
        """Keep an object that was just opened, if it is small and there is room.

        Only time makes room. If each of many objects drove out another one, a GET would take longer than
        without this class, because it would read into memory that no cache of the processor has.
        """
        version = stored.version
        if stored.data is None or version is None:
            return
        self._drop(path)
        size = version.size + _EACH
        if self.bytes + size > LIMIT or self._wall() - version.changed < _SETTLED:
            return
        loop = asyncio.get_running_loop()
        self._objects[path] = stored, version, loop.time()
        self.bytes += size
        if not self._timer:
            self._age_later(loop)

    def _drop(self, path: str) -> None:
        held = self._objects.pop(path, None)
        if held is not None:
            self.bytes -= held[1].size + _EACH

    def _age_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = True
        loop.call_later(self._kept_for / 2, self._age, loop)

    def _age(self, loop: asyncio.AbstractEventLoop) -> None:
        oldest = loop.time() - self._kept_for
        for path, (_, _, came) in list(self._objects.items()):
            if came > oldest:
                break
            self._drop(path)
        self._timer = False
        if self._objects:
            self._age_later(loop)
