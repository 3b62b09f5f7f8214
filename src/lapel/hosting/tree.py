"""The running process tree of `lapel serve`: starts, watches and restarts processes, and stops them in order.

Everything runs in the main thread, because PostgreSQL ends with the thread that started it. The loop sleeps
until a signal, a ready pipe or a timer wakes it.

Source: signal.set_wakeup_fd in the documentation of Python; prctl(2) of the Linux man-pages.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from types import FrameType

import structlog

from lapel.embedded.postgres.install import PostgresError
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.hosting.children import Backoff, Child, stop_all

# Seconds for the steps of a stop, together below five. Requests drain for three; the rest usually takes
# milliseconds.
DRAIN = 3.4
STORE_STOP = 0.4
POSTGRES_STOP = 0.6
LOG_LOOK = 10.0  # seconds between two checks of the size of PostgreSQL's log
# Seconds that the start waits for a process that the server can do without.
LATE = 5.0
LAST = frozenset(
    {"store", "embedder", "language-model"}
)  # roles that other processes use until their own end
TRIES = 4  # the start has failed when a process that was never ready has died this often

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.supervisor")


class StartFailed(RuntimeError):
    """A process never gets ready; the message names it."""


class Tree:
    """PostgreSQL (None when it is not the embedded one) and our own processes."""

    def __init__(self, postgres: EmbeddedPostgres | None, children: Sequence[Child]) -> None:
        self._postgres = postgres
        self._children = children
        self._signals = 0
        self._postgres_backoff = Backoff()
        self._postgres_started = time.monotonic()
        self._postgres_restart_at: float | None = None
        self._late_at: float | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    @contextlib.contextmanager
    def signals(self) -> Generator[None]:
        """Inside the block SIGINT, SIGTERM and SIGHUP stop the tree: the first signal stops the processes in
        their order, the second one kills them.

        A SIGHUP that was ignored before, as under nohup, stays ignored.
        """

        def note(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1

        def ignore(_number: int, _frame: FrameType | None) -> None:
            """Does nothing: the signal's byte in the wake pipe is enough."""

        handlers = {signal.SIGINT: note, signal.SIGTERM: note, signal.SIGCHLD: ignore}
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
            handlers[signal.SIGHUP] = note
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        wake_before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wake_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._wake_read)
            os.close(self._wake_write)

    @property
    def stopping(self) -> bool:
        """Whether a signal to stop has arrived."""
        return self._signals > 0

    def run(self, announce: Callable[[], None]) -> None:
        """Starts the children and keeps all alive until a signal; calls `announce` once all are ready.

        A child that is not essential is not waited for after LATE seconds, or when it has died. Raises
        StartFailed when an essential process has died TRIES times without getting ready.
        """
        for child in self._children:
            if child.demand_listener is None:
                child.start()
        self._late_at = time.monotonic() + LATE
        announced = False
        while not self.stopping:
            if self._late_at is not None and self._late_at <= time.monotonic():
                self._late_at = None
            if not announced and not any(map(self._is_awaited, self._children)):
                announced, self._late_at = True, None
                announce()
            self._wait()
            self._reap()
            self._reap_orphans()
            self._restart_due()
            if self._postgres is not None:
                self._postgres.shorten_log()

    def stop(self) -> None:
        """Ends everything: API and worker, then what they use: store and models, then PostgreSQL.

        Raises PostgresError when PostgreSQL does not end.
        """
        once = self._signals

        def hurry() -> bool:
            return self._signals > once or self._signals > 1

        first = [child for child in self._children if child.role not in LAST]
        last = [child for child in self._children if child.role in LAST]
        for group, patience in ((first, DRAIN), (last, STORE_STOP)):
            killed = stop_all(group, patience, hurry)
            if killed and not hurry():
                _log.warning("processes.killed", names=killed)
        if self._postgres is not None:
            self._postgres.stop(grace=0.0 if hurry() else POSTGRES_STOP)

    def _is_awaited(self, child: Child) -> bool:
        """Whether the start waits for this child."""
        if child.ready or child.essential:
            return not child.ready
        if child.demand_listener is not None:
            return False
        return self._late_at is not None and not child.failures

    def _wait(self) -> None:
        """Sleeps until a signal, a ready pipe, the next restart, or the next check of PostgreSQL's log."""
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        due += [at for at in (self._postgres_restart_at, self._late_at) if at is not None]
        if self._postgres is not None:
            due.append(time.monotonic() + LOG_LOOK)
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ, None)
            for child in self._children:
                if child.ready_fd is not None:
                    selector.register(child.ready_fd, selectors.EVENT_READ, child)
                if (awaited := child.starts_on) is not None:
                    selector.register(awaited, selectors.EVENT_READ, child)
            for key, _ in selector.select(timeout):
                if isinstance(key.data, Child):
                    if key.fileobj is key.data.starts_on:
                        key.data.start()
                    elif key.data.hear():
                        _log.debug("process.up", name=key.data.name)
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)

    def _reap_orphans(self) -> None:
        """Reaps children of a killed PostgreSQL; Lapel becomes their parent if it is process 1 of a
        container."""
        known = {child.process.pid for child in self._children if child.process is not None}
        if self._postgres is not None:
            with contextlib.suppress(PostgresError):  # it failed to start and waits for the next try
                known.add(self._postgres.pid)
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in known:  # it ended just now; the next `_reap` takes it
                    return
                os.waitpid(found.si_pid, 0)

    def _reap(self) -> None:
        for child in self._children:
            status = child.reap()
            if status is None:
                continue
            if status == 0 and child.demand_listener is not None:
                _log.debug("process.idle", name=child.name)
                continue
            if child.essential and not child.was_ready and child.failures >= TRIES:
                raise StartFailed(
                    f"{child.name} does not start (it ended {TRIES} times, last with {status}); "
                    "the lines above say why."
                )
            _log.warning("process.ended", name=child.name, status=status, again=child.failures)
            if child.given_up:
                _log.error("process.given_up", name=child.name, status=status)
        if self._postgres is not None and self._postgres_restart_at is None:
            status = self._postgres.poll()
            if status is not None:
                now = time.monotonic()
                self._postgres_restart_at = now + self._postgres_backoff.after(now - self._postgres_started)
                _log.warning("postgres.ended", status=status, again=self._postgres_backoff.failures)

    def _restart_due(self) -> None:
        now = time.monotonic()
        if self._postgres_restart_at is not None and self._postgres_restart_at <= now and not self.stopping:
            self._restart_postgres()
        for child in self._children:
            if child.restart_at is not None and child.restart_at <= now and not self.stopping:
                child.restart_at = None
                if child.demand_listener is None:
                    child.start()

    def _restart_postgres(self) -> None:
        if self._postgres is None:
            return
        self._postgres_restart_at = None
        self._postgres_started = time.monotonic()
        try:
            self._postgres.start(interrupted=lambda: self.stopping)
        except (OSError, RuntimeError, subprocess.SubprocessError) as fault:  # PostgresError is the usual one
            if self.stopping:
                return
            self._postgres_restart_at = time.monotonic() + self._postgres_backoff.after(0.0)
            _log.error("postgres.start_failed", error=str(fault))
        else:
            _log.info("postgres.restarted")
