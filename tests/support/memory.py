"""A folder in memory, if the machine has room for one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
# The store keeps 1 GiB free, and a container's own /dev/shm may be tiny.
ROOM = 3 << 30


@contextmanager
def folder_in_memory(otherwise: Path) -> Generator[Path]:
    """An empty folder in memory, or `otherwise`. Every fsync in it is free.

    A killed process loses nothing in it; only a power cut would, which tests do not cover.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield otherwise
        return
    folder = Path(tempfile.mkdtemp(prefix="lapel-tests-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
