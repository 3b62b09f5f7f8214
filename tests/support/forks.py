"""The process that every warm process of the tests is forked from: it has imported all of Lapel already.

A Python that starts anew spends most of its time importing. Tests with another subject than that start use
forks. A fork is a process with its own descriptors, environment, signals and exit status.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.imports", "tests.support.warm"])


def nothing() -> None:
    """What a new process calls first, unless a test says otherwise."""


# Starting a process also polls all others. Of two threads that poll at once, the second gets the exit status
# 255 for a process that has ended.
_ASKING = threading.Lock()


def start(process: ForkServerProcess) -> None:
    """Start it; from any thread."""
    with _ASKING:
        process.start()


def status(process: ForkServerProcess, timeout: float | None = None) -> int | None:
    """Wait for the end of the process; gives the exit status, or None when it still runs after `timeout`."""
    with _ASKING:
        # Once it is known, the sentinel may be silent for a moment, until it is closed.
        code = process.exitcode
    if code is None and wait([process.sentinel], timeout):
        with _ASKING:
            process.join()
            code = process.exitcode
    return code


def end_with_parent() -> None:
    """In the new process: end when the process that forked it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)


def take_environment(environment: Mapping[str, str]) -> None:
    """In the new process: have this environment and no other."""
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it is remembered from the first use


def note_forks(marker: Path) -> None:
    """Make this file when Python is about to run in a process forked from this one, as it does until exec.

    Such a process may hang on a lock that another thread held at the fork. What Python's own module
    subprocess starts runs none. The spawner is forked on purpose, while there is one thread.
    """

    def note() -> None:
        by_spawner = "fork_spawner" in {each.name for each in traceback.extract_stack()}
        if not by_spawner or len(list(Path("/proc/self/task").iterdir())) > 1:
            marker.touch()

    os.register_at_fork(before=note)
