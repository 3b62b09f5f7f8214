"""An installation as its first start leaves it, made once in a test run; tests get copies.

A copy starts in a third of the CPU time of a first start, which makes a database and runs all migrations.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.support.memory import folder_in_memory
from tests.support.serving import told, with_key


class Installation:
    """What `lapel init` made in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, data_dir: Path) -> str:
        """Make the data folder `data_dir`; gives the first secret key."""
        shutil.copytree(self._folder / "data", data_dir)
        return (self._folder / "key").read_text()


def shared_installation(factory: pytest.TempPathFactory) -> Installation:
    """The installation of this test run; the first test process that asks for it makes it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the processes of a run share it
    with (base / "installation.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = base / "installation"
        if not folder.exists():
            _make(folder)
    return Installation(folder)


def _make(folder: Path) -> None:
    """Make it in memory, and give the folder its name at the end."""
    building = folder.with_name("installation.new")
    shutil.rmtree(building, ignore_errors=True)  # of a process that was ended
    building.mkdir()
    with folder_in_memory(building) as fast:
        made = with_key(told("init", "--data-dir", fast / "data"))
        (fast / "key").write_text(made["key"])
        if fast != building:
            shutil.copytree(fast, building, dirs_exist_ok=True)
    building.rename(folder)
