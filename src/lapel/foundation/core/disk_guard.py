"""Full disks: recognizing their errors, and refusing writes before PostgreSQL runs out of space."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_EVERY_SECONDS = 1.0
# The store refuses uploads below max(1 GiB, 5 %). The API's small writes may go on until half of that reserve
# is used.
_SHARE = 0.025


def is_disk_full(error: BaseException) -> bool:
    """Whether the error means a full disk or an exhausted quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class DiskGuard:
    """Whether the data folder's disk is nearly full, checked once a second at most."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._looked_at = float("-inf")
        self._low = False

    def low(self) -> bool:
        """True when less than max(half of `min_free_bytes`, 2.5 % of the disk) is free."""
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
        return free < max(self._min_free_bytes // 2, int(total * _SHARE))
