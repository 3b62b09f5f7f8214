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
    """An empty folder, or `otherwise`. What is killed loses nothing of it, so that every fsync may be free; a
    power cut would, which is no matter of our tests."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield otherwise
        return
    folder = Path(tempfile.mkdtemp(prefix="lapel-tests-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
