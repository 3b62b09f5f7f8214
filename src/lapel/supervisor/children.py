"""One child process of the tree: how it is started, found ready, found dead and started again."""

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

Role = Literal["api", "worker", "store"]

FIRST_DELAY = 0.1  # seconds before the first restart; doubled by each further one
LONGEST_DELAY = 10.0
STABLE = 30.0  # seconds of life after which a death counts as the first one again

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.supervisor")


class Backoff:
    """How long to wait before the next start."""

    def __init__(self) -> None:
        self.failures = 0

    def after(self, lived: float) -> float:
        """Seconds to wait after a process that `lived` so many seconds."""
        self.failures = 1 if lived >= STABLE else self.failures + 1
        return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures - 1, 20))


class Child:
    """A process of our own programs. `environment` gets the process's own additions."""

    def __init__(
        self,
        role: Role,
        name: str,
        environment: Callable[[Mapping[str, str]], dict[str, str]],
        listener: int | None = None,
    ) -> None:
        self.role: Role = role
        self.name = name
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
        """Deaths in a row without a stable life between."""
        return self._backoff.failures

    def start(self) -> None:
        """Starts the process; it will write to `ready_fd` once it serves. When the system has no room
        for another process, that is a death like any other, and there will be another try."""
        self._close_ready()
        self.restart_at, self.ready = None, False
        self.ready_fd, write = os.pipe()
        own = {"LAPEL_READY_FD": str(write), "LAPEL_PARENT_PID": str(os.getpid())}
        passed = [write]
        if self._listener is not None:
            own["LAPEL_LISTEN_FD"] = str(self._listener)
            passed.append(self._listener)
        try:
            # A group of its own: Ctrl-C in the terminal is for us, who stop the tree in order.
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
        """Reads what the process wrote to the ready pipe: True when it has just become ready."""
        if self.ready_fd is None:
            return False
        said = os.read(self.ready_fd, 64)
        self._close_ready()
        self.ready = said.startswith(b"ready")
        self.was_ready = self.was_ready or self.ready
        return self.ready

    def reap(self) -> int | None:
        """The exit status if the process has ended since the last call; plans the restart."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is None:
            return None
        now = time.monotonic()
        self.process, self.ready = None, False
        self._close_ready()
        self.restart_at = now + self._backoff.after(now - self._started)
        return status

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, if the process lives."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def _close_ready(self) -> None:
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


def command(role: Role) -> Sequence[str]:
    """The command line of a child. `-P`: the folder we happen to stand in holds no code of ours."""
    return [sys.executable, "-P", "-m", "lapel.cli.child", role]


def stop_all(children: Sequence[Child], patience: float, hurry: Callable[[], bool]) -> list[str]:
    """Ends the processes: SIGTERM, then SIGKILL after `patience` seconds or as soon as `hurry`.

    Gives the names of those that had to be killed.
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
