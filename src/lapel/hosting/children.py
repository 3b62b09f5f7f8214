"""One child process of the tree: start, readiness, exit, and the time of its restart (by tree.py).

Restarts are delayed by exponential backoff: FIRST_DELAY, doubled by each further death, at most
LONGEST_DELAY.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import structlog

Role = Literal["api", "worker", "store", "embedder", "language-model"]


class ChildProcess(Protocol):
    """What the supervisor uses of a process, as of subprocess.Popen."""

    pid: int

    def poll(self) -> int | None:
        """The exit status, or the negative number of the signal; None while the process runs."""
        ...

    def wait(self) -> int:
        """The same, once the process has ended."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless the process has ended."""
        ...


# Starts a role with its whole environment and the descriptors that it inherits; raises OSError when the
# operating system starts no process. The process has a process group of its own, so Ctrl-C in the terminal
# reaches only the supervisor, which stops the tree.
Spawn: TypeAlias = "Callable[[Role, Mapping[str, str], Sequence[int]], ChildProcess]"

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
    environment. `listener`: descriptor of a listening socket that the child inherits. `spawn` starts the
    process. `essential`: without this process the server does not start; other processes may fail, and the
    server goes on without them. `demand_listener`: a listening socket, in place of `listener`.
    A connection to it starts the process, which ends with status 0 when it has had nothing to do for a while.
    """

    def __init__(
        self,
        role: Role,
        name: str,
        environment: Callable[[Mapping[str, str]], dict[str, str]],
        listener: int | None = None,
        *,
        spawn: Spawn | None = None,
        essential: bool = True,
        demand_listener: socket.socket | None = None,
    ) -> None:
        self.role: Role = role
        self.name = name
        self.essential = essential
        self.ready = False
        self.was_ready = False
        self.restart_at: float | None = None
        self.given_up = False
        self.ready_fd: int | None = None
        self.process: ChildProcess | None = None
        self._spawn = spawn or start_program
        self._environment = environment
        self.demand_listener = demand_listener
        self._listener = listener if demand_listener is None else demand_listener.fileno()
        self._backoff = Backoff()
        self._started = 0.0

    @property
    def failures(self) -> int:
        """Number of deaths in a row; a life of STABLE seconds restarts the count."""
        return self._backoff.failures

    @property
    def starts_on(self) -> socket.socket | None:
        """The socket whose next connection starts this process; None if nothing does, or now."""
        return self.demand_listener if self.process is None and self.restart_at is None else None

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
            self.process = self._spawn(self.role, self._environment(own), passed)
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
        if status == 0 and self.demand_listener is not None:
            return status
        delay = self._backoff.after(now - self._started)
        if status == HOPELESS and not self.essential:
            self._give_up()
        else:
            self.restart_at = now + delay
        return status

    def send(self, number: signal.Signals) -> None:
        """Sends a signal when the process is running."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def _give_up(self) -> None:
        self.given_up = True
        if self.demand_listener is not None:
            self.demand_listener.close()  # who connects from now on is refused and does not wait
            self.demand_listener = None

    def _close_ready(self) -> None:
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


def start_program(role: Role, environment: Mapping[str, str], descriptors: Sequence[int]) -> ChildProcess:
    """A new program that runs `role`. Raises OSError when the operating system starts none."""
    # `-P` keeps Python from importing code from the working directory.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "lapel.hosting.child", role],
        env=environment, pass_fds=descriptors, stdin=subprocess.DEVNULL, process_group=0,
    )  # fmt: skip


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
