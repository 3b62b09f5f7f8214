"""A child process that is read and written by any event loop, also by uvloop.

`asyncio.create_subprocess_exec` is not used: under uvloop it forks, and Python code runs in the new process
before the child's program starts. If another thread held a lock at the fork, the new process hangs for ever.
`subprocess.Popen` runs only C code there. It blocks the event loop until the program is loaded, as asyncio's
own event loop does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Protocol


class RunningChild(Protocol):
    """A child that was started, or will be in a moment."""

    @property
    def pid(self) -> int | None:
        """Process id; None until the child runs."""
        ...

    async def started(self) -> None:
        """Wait until the child runs. Raises OSError when the system cannot start it."""
        ...

    def watch(self, ended: Callable[[int], None]) -> None:
        """Call `ended` in the event loop with the exit status, when the child has ended."""
        ...

    def send_signal(self, which: signal.Signals, /) -> None:
        """Send a signal unless the child has ended."""
        ...

    def close(self) -> None:
        """Give back what the watching needs. The child has ended or was killed."""
        ...


class DirectChild:
    """A child of this process. It ends with the thread that started it, see parent_death.py."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    async def started(self) -> None:
        """It runs already."""

    def watch(self, ended: Callable[[int], None]) -> None:
        """Wait for the end in a thread: not every system has a way to do so without one."""
        loop = asyncio.get_running_loop()

        def wait() -> None:
            code = self._process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended, code)

        threading.Thread(target=wait, name="end of a child", daemon=True).start()

    def send_signal(self, which: signal.Signals) -> None:
        """Send a signal unless the child has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(which)

    def close(self) -> None:
        """The thread ends by itself."""


class PipedChild:
    """A child and its streams, which are set once `connected` has returned.

    `returncode` is None until the child has ended. Each stream is a socket, because uvloop closes the
    descriptor of a pipe twice.
    """

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    def __init__(self, start: Callable[[int, int], RunningChild]) -> None:
        """Start a program by `start`, which gets the descriptors of its standard input and output, and of its
        standard error. Raises OSError when the system cannot start it."""
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        with contextlib.ExitStack() as unless_started:
            ours, theirs = socket.socketpair()
            our_errors, their_errors = socket.socketpair()
            unless_started.callback(ours.close)
            unless_started.callback(our_errors.close)
            with theirs, their_errors:
                self._child = start(theirs.fileno(), their_errors.fileno())
            unless_started.pop_all()
        self._child.watch(self._end)
        self._connecting = asyncio.create_task(self._connect(ours, our_errors))

    async def _connect(self, ours: socket.socket, our_errors: socket.socket) -> None:
        self.stdout, self.stdin = await asyncio.open_unix_connection(sock=ours)
        self.stderr, self._errors = await asyncio.open_unix_connection(sock=our_errors)

    async def connected(self) -> None:
        """Wait until the child runs and the streams can be used. Raises OSError when it cannot be started."""
        # A connection that is cancelled would leave its socket to be closed twice.
        await asyncio.shield(self._connecting)
        await self._child.started()

    @property
    def pid(self) -> int | None:
        """Process id; None until the child runs."""
        return self._child.pid

    def send_signal(self, which: signal.Signals) -> None:
        """Send a signal unless the child has ended."""
        self._child.send_signal(which)

    async def wait(self) -> None:
        """Wait until the child has ended. Another process may still hold its streams open."""
        await self._ended.wait()

    async def close(self) -> None:
        """Close our ends of the streams, when the child has ended or was killed. What is unsent is lost."""
        self._child.close()
        await asyncio.shield(self._connecting)
        # Not `close`, which first sends the rest: a grandchild that holds the child's end may never read it.
        self.stdin.transport.abort()
        self._errors.close()

    def _end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()
