"""The command `lapel` in a forked process.

`Warm` is used like subprocess.Popen. Only the imports differ from `python -m lapel.cli.main`. A test of what
a start costs or imports needs a Python that starts anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Self

import psutil

from tests.support.forks import FORKS, end_with_parent, nothing, start, status, take_environment
from tests.support.patience import LOOK, Deadline

PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL


class Warm:
    """One `lapel` with these arguments. Streams: PIPE, DEVNULL or a file; stdin is empty.

    `before`: a function of a module, which the new process calls first.
    """

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str],
        stdout: int | IO[Any] = PIPE,
        stderr: int | IO[Any] = PIPE,
        before: Callable[[], None] = nothing,
    ) -> None:
        self.args = ["lapel", *arguments]
        self.stdout, out = _end(stdout)
        self.stderr, err = _end(stderr)
        self._process = FORKS.Process(
            target=_command, args=(self.args, dict(env), str(Path.cwd()), out, err, before), daemon=True
        )
        start(self._process)
        out.close()
        err.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status once the process has ended; of one that a signal ended, its negative number."""
        return self.poll()

    def poll(self) -> int | None:
        """The exit status, or None when the process runs."""
        return status(self._process, 0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises subprocess.TimeoutExpired, on a busy machine later."""
        if timeout is None:
            code = status(self._process)
            assert code is not None
            return code
        deadline = Deadline(timeout)
        while (code := status(self._process, min(timeout, LOOK))) is None:
            if deadline.has_passed():
                raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal when the process still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it prints until it ends. Raises subprocess.TimeoutExpired, on a busy machine later."""
        printed: dict[str, str] = {}

        def read(name: str, stream: IO[str] | None) -> None:
            printed[name] = stream.read() if stream else ""

        ended, late = threading.Event(), threading.Event()

        def kill_late() -> None:
            deadline = Deadline(timeout or 10**6)
            while not ended.wait(LOOK):
                if deadline.has_passed():
                    late.set()
                    self.kill()
                    break

        reading = threading.Thread(target=read, args=("stderr", self.stderr))
        watching = threading.Thread(target=kill_late)
        reading.start()
        watching.start()
        try:
            read("stdout", self.stdout)
            reading.join()
            if late.is_set():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.wait(timeout)
        finally:
            ended.set()
            watching.join()
        return printed["stdout"], printed["stderr"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream:
                stream.close()
        self.wait()


def _end(stream: int | IO[Any]) -> tuple[IO[str] | None, Connection]:
    """Our end of a stream, if we have one, and the end that the process gets."""
    if stream == PIPE:
        ours, theirs = os.pipe()
        return os.fdopen(ours, encoding="utf-8"), Connection(theirs, readable=False)
    if stream == DEVNULL:
        return None, Connection(os.open(os.devnull, os.O_WRONLY), readable=False)
    return None, Connection(os.dup(stream if isinstance(stream, int) else stream.fileno()), readable=False)


def _command(
    arguments: list[str],
    environment: Mapping[str, str],
    folder: str,
    out: Connection,
    err: Connection,
    before: Callable[[], None],
) -> None:
    """In the new process: `python -m lapel.cli.main`."""
    end_with_parent()
    os.chdir(folder)
    take_environment(environment)
    for number, stream in ((1, out), (2, err)):
        os.dup2(stream.fileno(), number)
        stream.close()
    _open_streams()
    before()
    sys.argv = arguments
    runpy.run_module("lapel.cli.main", run_name="__main__", alter_sys=True)


def _open_streams() -> None:
    """The descriptors 1 and 2 as Python's own streams, which print at once what belongs to people."""
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )


def is_role(process: psutil.Process, role: str) -> bool:
    """Whether this is a process of `lapel serve` with this role. `postgres` is the server's first process.

    Raises psutil.NoSuchProcess or psutil.ZombieProcess when it has ended.
    """
    line = process.cmdline()  # empty when the process has just ended
    if role == "postgres":
        return bool(line) and line[0].endswith("/postgres")
    # A program has its name only once it runs our code. Linux keeps 15 characters.
    return process.name() == f"lapel-{role}"[:15] or line[-2:] == ["lapel.hosting.child", role]


def children_of(pid: int) -> list[psutil.Process]:
    """The processes that this one has started and that have not been waited for.

    psutil looks at every process of the machine for them. Linux keeps a list (see proc_pid_task(5)).
    """
    found: list[psutil.Process] = []
    try:
        lists = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # a thread of it has just ended
        lists = []
    if not lists:
        return psutil.Process(pid).children()
    for each in " ".join(lists).split():
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(int(each)))
    return found
