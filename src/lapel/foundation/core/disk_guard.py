"""Full disks: recognizing their errors, and refusing writes before PostgreSQL runs out of space.

The embedded store refuses uploads below a reserve of its disk (`embedded/s3/files/folder.py`).
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_EVERY_SECONDS = 1.0
# Of the disk. The API's small writes may go on until half of the reserve is used.
_SHARE = 0.05


def is_disk_full(error: BaseException) -> bool:
    """Whether the error means a full disk or an exhausted quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def reserve_of(total: int, min_free_bytes: int) -> int:
    """Free bytes below which the embedded store refuses uploads, on a disk of `total` bytes."""
    return max(min_free_bytes, int(total * _SHARE))


class DiskGuard:
    """Whether the data folder's disk is nearly full, checked once a second at most."""

    def __init__(self, folder: Path, min_free_bytes: int, part: float = 0.5) -> None:
        """`part`: of the reserve, below which the disk is nearly full."""
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._part = part
        self._looked_at = float("-inf")
        self._low = False

    def low(self) -> bool:
        """True when less than the part of the reserve is free: of `min_free_bytes`, or of 5 % of the disk."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_SECONDS:
            self._looked_at = now
            self._low = self._look()
        return self._low

    def _look(self) -> bool:
        try:
            room = os.statvfs(self._folder)
        except OSError:
            return False
        free, total = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        return free < reserve_of(total, self._min_free_bytes) * self._part
