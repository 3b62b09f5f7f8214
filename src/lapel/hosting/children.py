"""One child process of the tree: start, readiness, exit, and the time of its restart (by tree.py).

Restarts are delayed by exponential backoff: FIRST_DELAY, doubled by each further death, at most
LONGEST_DELAY.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import structlog

Role = Literal["api", "worker", "store", "embedder", "language-model"]

FIRST_DELAY = 0.1  # seconds before the first restart; each further death doubles it
LONGEST_DELAY = 10.0  # seconds
# The exit status of a process that would fail again in the same way, such as with damaged weights.
HOPELESS = 78  # EX_CONFIG, see sysexits.h(3head)
STABLE = 30.0  # seconds; a process that lived this long resets the backoff

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.supervisor")


class Backoff:
    """Exponential backoff between restarts."""

    def __init__(self) -> None:
        self.failures = 0

    def after(self, lived: float) -> float:
        """Counts the death of a process that lived `lived` seconds; returns the seconds to wait."""
        self.failures = 1 if lived >= STABLE else self.failures + 1
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures - 1, 20))


class Child:
    """One child process that runs Lapel's code.

    `environment`: a function from the variables that `start` makes for this child to the child's whole
    environment. `listener`: descriptor of a listening socket that the child inherits. `essential`: without
    this process the server does not start; other processes may fail, and the server goes on without them.
    """

    def __init__(
        self,
        role: Role,
        name: str,
        environment: Callable[[Mapping[str, str]], dict[str, str]],
        listener: int | None = None,
        *,
        essential: bool = True,
    ) -> None:
        self.role: Role = role
        self.name = name
        self.essential = essential
        self.ready = False
        self.was_ready = False
        self.restart_at: float | None = None
        self.ready_fd: int | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = environment
        self._listener = listener
        self._backoff = Backoff()
        self._started = 0.0

    @property
    def failures(self) -> int:
        """Number of deaths in a row; a life of STABLE seconds restarts the count."""
        return self._backoff.failures

    def start(self) -> None:
        """Starts the process, which writes to `ready_fd` once it serves.

        If the operating system cannot start the process, that counts as a death, and a restart is planned.
        """
        self._close_ready()
        self.restart_at, self.ready = None, False
        self.ready_fd, write = os.pipe()
        own = {"LAPEL_READY_FD": str(write), "LAPEL_PARENT_PID": str(os.getpid())}
        passed = [write]
        if self._listener is not None:
            own["LAPEL_LISTEN_FD"] = str(self._listener)
            passed.append(self._listener)
        try:
            # A process group of its own: Ctrl-C in the terminal reaches only this process, which stops the
            # tree.
            self.process = subprocess.Popen(
                command(self.role), env=self._environment(own), pass_fds=passed,
                stdin=subprocess.DEVNULL, process_group=0,
            )  # fmt: skip
        except OSError as fault:
            _log.error("process.start_failed", name=self.name, error=str(fault))
            self._close_ready()
            self.restart_at = time.monotonic() + self._backoff.after(0.0)
        finally:
            os.close(write)
        self._started = time.monotonic()

    def hear(self) -> bool:
        """Reads the ready pipe; True when the process has just become ready."""
        if self.ready_fd is None:
            return False
        said = os.read(self.ready_fd, 64)
        self._close_ready()
        self.ready = said.startswith(b"ready")
        self.was_ready = self.was_ready or self.ready
        return self.ready

    def reap(self) -> int | None:
        """The exit status when the process has ended since the last call, else None; plans the restart."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is None:
            return None
        now = time.monotonic()
        self.process, self.ready = None, False
        self._close_ready()
        delay = self._backoff.after(now - self._started)
        self.restart_at = None if status == HOPELESS and not self.essential else now + delay
        return status

    def send(self, number: signal.Signals) -> None:
        """Sends a signal when the process is running."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def _close_ready(self) -> None:
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


def command(role: Role) -> Sequence[str]:
    """The command line of a child. `-P` keeps Python from importing code from the working directory."""
    return [sys.executable, "-P", "-m", "lapel.hosting.child", role]


def stop_all(children: Sequence[Child], patience: float, hurry: Callable[[], bool]) -> list[str]:
    """Ends the processes: SIGTERM, then SIGKILL after `patience` seconds or as soon as `hurry()` is true.

    Returns the names of the processes that had to be killed.
    """
    for child in children:
        child.send(signal.SIGTERM)
    deadline = time.monotonic() + patience
    left = [child for child in children if child.process is not None]
    while left and time.monotonic() < deadline and not hurry():
        left = [child for child in left if child.process is not None and child.process.poll() is None]
        time.sleep(0.01)
    for child in left:
        child.send(signal.SIGKILL)
    for child in children:
        if child.process is not None:
            child.process.wait()
            child.process = None
    return [child.name for child in left]
