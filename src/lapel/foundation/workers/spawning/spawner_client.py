"""The client of a spawner, and a child that the spawner started."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.workers.spawning.spawner import NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.workers.spawning.child_program import ChildProgram


class SpawnerClient:
    """`pid`: process id of the spawner. `requests`: our end of its socket."""

    def __init__(self, pid: int, requests: socket.socket) -> None:
        self.pid = pid
        self._requests = requests
        self._requests.setblocking(False)

    def start(self, program: ChildProgram, streams: int, errors: int, files: int) -> SpawnedChild:
        """Ask for a child. Raises OSError, of these BrokenPipeError when the spawner has ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                descriptors = [streams, errors, files, theirs.fileno()]
                socket.send_fds(self._requests, [msgspec.msgpack.encode(program)], descriptors)
            except OSError:
                ours.close()
                raise
        return SpawnedChild(ours)

    async def ended(self) -> None:
        """Wait until the spawner has ended; it cannot be started again."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._requests, 1)  # it never sends

    def close(self) -> None:
        """End the spawner with all of its children."""
        self._requests.close()


class SpawnedChild:
    """A child of the spawner. `pid` is known once `started` has returned."""

    def __init__(self, control: socket.socket) -> None:
        self.pid: int | None = None
        self._control = control
        self._control.setblocking(False)
        self._said = b""
        self._fault: OSError | None = None
        self._answered = asyncio.Event()

    def watch(self, ended: Callable[[int], None]) -> None:
        """Call `ended` with the exit status, or the negative number of a signal, when the child has ended."""
        self._tell = ended
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._hear)

    async def started(self) -> None:
        """Wait until the child runs. Raises OSError when it does not run; of these ConnectionResetError when
        the spawner has ended."""
        await self._answered.wait()
        if self._fault is not None:
            raise self._fault

    def send_signal(self, which: signal.Signals) -> None:
        """Send a signal unless the child has ended."""
        with contextlib.suppress(OSError):
            self._control.send(bytes([which]))

    def close(self) -> None:
        """Stop listening. The spawner kills the child if it has not ended."""
        if self._control.fileno() != -1:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()

    def _hear(self) -> None:
        try:
            said = self._control.recv(2 * NUMBER.size)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self._said += said
        if len(self._said) >= NUMBER.size and not self._answered.is_set():
            self._take_answer(*NUMBER.unpack_from(self._said))
        if len(self._said) >= 2 * NUMBER.size:
            self._end(*NUMBER.unpack_from(self._said, NUMBER.size))
        elif not said:  # the child was not started, or has died with the spawner
            if not self._answered.is_set():
                self._take_answer(-errno.ECONNRESET)
            self._end(-signal.SIGKILL)

    def _take_answer(self, number: int) -> None:
        if number > 0:
            self.pid = number
        else:
            self._fault = OSError(-number, f"no child was started: {os.strerror(-number)}")
        self._answered.set()

    def _end(self, status: int) -> None:
        self.close()
        self._tell(status)
