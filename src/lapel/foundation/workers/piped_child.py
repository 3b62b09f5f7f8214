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
from collections.abc import Mapping, Sequence


class PipedChild:
    """A child that was started: its streams are set once `connected` has returned.

    `returncode` is None until the child has ended. Each stream is a socket, because uvloop closes the
    descriptor of a pipe twice.
    """

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    def __init__(self, command: Sequence[str], *, pass_fds: Sequence[int], env: Mapping[str, str]) -> None:
        """Start a program. Raises OSError when the system cannot start it."""
        self.returncode: int | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        with contextlib.ExitStack() as unless_started:
            ours, theirs = socket.socketpair()
            our_errors, their_errors = socket.socketpair()
            unless_started.callback(ours.close)
            unless_started.callback(our_errors.close)
            with theirs, their_errors:
                # In this thread: a child ends with the thread that started it, see parent_death.py.
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=their_errors.fileno(),
                    pass_fds=pass_fds,
                    env=env,
                )
            unless_started.pop_all()
        threading.Thread(target=self._watch, name="end of a child", daemon=True).start()
        self._connecting = asyncio.create_task(self._connect(ours, our_errors))

    async def _connect(self, ours: socket.socket, our_errors: socket.socket) -> None:
        self.stdout, self.stdin = await asyncio.open_unix_connection(sock=ours)
        self.stderr, self._errors = await asyncio.open_unix_connection(sock=our_errors)

    async def connected(self) -> None:
        """Wait until the streams can be used."""
        # A connection that is cancelled would leave its socket to be closed twice.
        await asyncio.shield(self._connecting)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send_signal(self, which: signal.Signals) -> None:
        """Send a signal unless the child has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(which)

    async def wait(self) -> None:
        """Wait until the child has ended. Another process may still hold its streams open."""
        await self._ended.wait()

    async def close(self) -> None:
        """Close our ends of the streams, when the child has ended or was killed. What is unsent is lost."""
        await self.connected()
        # Not `close`, which first sends the rest: a grandchild that holds the child's end may never read it.
        self.stdin.transport.abort()
        self._errors.close()

    def _watch(self) -> None:
        """Wait for the end in a thread: not every system has a way to do so without one."""
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._end, code)

    def _end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()
