"""Where faults happen: a folder in memory, if the machine has room for one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
# The store keeps 1 GiB free, and a container's own /dev/shm may be tiny.
ROOM = 3 << 30


@pytest.fixture
def quick_folder(tmp_path: Path) -> Generator[Path]:
    """An empty folder. What is killed loses nothing of it, so that every fsync may be free; a power cut,
    which is no matter of these tests, would.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM:
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="lapel-faults-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
