"""Processes that are forks of the supervisor, which has imported most of what they need.

A fork starts in a few milliseconds, and shares the memory of everything that was imported. It has the
environment, the descriptors and the signals that a program would have that was started anew.

Sources: fork(2), close_range(2), signal(7) and PR_SET_NAME in prctl(2) of the Linux man-pages.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import structlog

from lapel.foundation import telemetry
from lapel.foundation.workers.open_files import close_all_but
from lapel.foundation.workers.parent_death import keep_one_heap
from lapel.hosting.children import start_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapel.hosting.children import ChildProcess, Role

# The models' processes read hostile texts, and the memory of the supervisor has secrets.
FORKED_ROLES: frozenset[Role] = frozenset({"api", "store", "worker"})

_LOOKS = 50

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.supervisor")


class Forks:
    """Makes the processes of some roles. Until the first of them starts, a thread imports the modules of API
    and store."""

    def __init__(self, roles: frozenset[Role]) -> None:
        # Other systems' libraries may not work in a fork.
        self._roles = roles & FORKED_ROLES if sys.platform == "linux" else frozenset[Role]()
        # Not a daemon: a start that fails at once must not end this process in the middle of an import.
        self._importing = threading.Thread(target=self._import)
        keep_one_heap()
        if self._roles:
            gc.disable()
        self._importing.start()

    def spawn(self, role: Role, environment: Mapping[str, str], descriptors: Sequence[int]) -> ChildProcess:
        """A fork that runs `role`, or a new program where a fork is impossible.

        Raises OSError when the operating system starts no process.
        """
        if role not in self._roles:
            return start_program(role, environment, descriptors)
        self._importing.join()
        gc.freeze()  # the collector writes into no page that is shared
        gc.enable()
        # A fork would wait for ever for a lock that another thread holds at this moment.
        if not _has_one_thread():
            _log.warning("process.not_forked", role=role)
            return start_program(role, environment, descriptors)
        return ForkedProcess(role, environment, descriptors)

    def _import(self) -> None:
        # The worker's fork imports the rest, because clients do not wait for it. Here it would take 16 MB
        # more, because the worker writes to most of these pages, and so gets copies of them.
        for role in self._roles - {"worker"}:
            try:
                _load(role)
            except RuntimeError:  # Python ends, because the start failed at once, and refuses some imports
                if threading.main_thread().is_alive():
                    raise


def _has_one_thread() -> bool:
    for _ in range(_LOOKS):
        try:
            if len(list(Path("/proc/self/task").iterdir())) == 1:
                return True
        except OSError:  # without /proc nobody knows, and a fork could not close what it must not have
            return False
        time.sleep(0.001)  # the kernel shows a thread that has ended a moment longer
    return False


def _load(role: Role) -> None:
    with contextlib.suppress(ImportError):  # raised again in the process
        from lapel.hosting import child  # noqa: PLC0415  # it takes most of a start

        child.load(role)


class ForkedProcess:
    """A forked process, with as much of the interface of subprocess.Popen as the supervisor uses."""

    def __init__(self, role: Role, environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
        """Raises OSError when the operating system forks no process."""
        self.returncode: int | None = None
        _flush()  # or both processes would print it
        # A signal that arrives before the handlers are reset would be taken for one to the supervisor.
        blocked = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _become(role, environment, descriptors, blocked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def poll(self) -> int | None:
        """The exit status, or the negative number of the signal; None while the process runs."""
        if self.returncode is None:
            self._take(*os.waitpid(self.pid, os.WNOHANG))
        return self.returncode

    def wait(self) -> int:
        """The same, once the process has ended."""
        while self.returncode is None:
            self._take(*os.waitpid(self.pid, 0))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _take(self, pid: int, status: int) -> None:
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)


def _become(
    role: Role, environment: Mapping[str, str], descriptors: Sequence[int], unblocked: set[int]
) -> NoReturn:
    """In the fork: what a new program would find, and then the role."""
    code = 1
    try:
        os.setpgid(0, 0)  # Ctrl-C in the terminal reaches only the supervisor, which stops the tree
        _reset_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        close_all_but({1, 2, *descriptors})
        os.open(os.devnull, os.O_RDONLY)  # becomes descriptor 0, the lowest that is free
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir = None  # the supervisor's
        _forget_working_folder()
        from lapel.hosting import child  # noqa: PLC0415  # usually imported long ago

        signal.signal(signal.SIGINT, signal.default_int_handler)
        child.run(role)
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException as fault:  # noqa: BLE001 - as at the end of every Python
        sys.excepthook(type(fault), fault, fault.__traceback__)
    finally:
        try:
            telemetry.flush_log()
            _flush()
        finally:
            os._exit(code)  # without what the supervisor does at its end


def _forget_working_folder() -> None:
    """Remove the working folder from the folders of modules, as `python -P` does: no code comes from it."""
    with contextlib.suppress(OSError):  # it was removed
        if not sys.flags.safe_path and sys.path[:1] in ([""], [str(Path.cwd())]):
            del sys.path[0]


def _flush() -> None:
    """Without a stream, or with one that cannot be written, the work goes on."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def _code_of(end: SystemExit) -> int:
    if isinstance(end.code, str):
        sys.stderr.write(f"{end.code}\n")
        return 1
    return end.code or 0
