"""The spawner: a small process that keeps the rights of root which fenced children need at their start.

The process that asks has given up these rights, see `give_up_rights` of sandbox.py. A request is one message:
a `ChildProgram` in MessagePack, with four descriptors: standard streams, standard error, the socket for
files, and the control socket of this one child. On the control socket the spawner sends the process id, or
the negative number of an error (4 bytes each), and later the exit status. The client sends signals there, one
byte each. So a signal can reach only the child of its socket. When the client closes the socket, the child
is killed. The spawner ends when the other end of the socket for requests is closed.

Sources: unix(7) (SCM_RIGHTS), seqpacket in socket(2), signal(7) of the Linux man-pages.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import selectors
import signal
import socket
import stat
import struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog

from lapel.foundation.workers.spawning.child_program import ChildProgram, start_program

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Collection
    from types import FrameType

NUMBER = struct.Struct("=i")
DESCRIPTORS = 4  # of a request
LARGEST_REQUEST = 64 * 1024
# The signals that a WorkerProcess sends to its child.
SIGNALS = frozenset({signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGUSR1})
# More than a worker has at a time. Without an end, a client under an attacker's control could use up
# everybody's process ids.
_MOST_CHILDREN = 64

_log: structlog.stdlib.BoundLogger = structlog.get_logger("lapel.spawner")


class _RequestRefused(Exception):
    """The request is none that this spawner takes."""


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    control: socket.socket


class Spawner:
    """Starts and ends the children of one client. `modules`: the only programs that it starts. `most`:
    children at a time."""

    def __init__(
        self, requests: socket.socket, modules: Collection[str], *, most: int = _MOST_CHILDREN
    ) -> None:
        self._requests = requests
        self._most = most
        self._modules = modules
        self._children: list[_Child] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken_by = socket.socketpair()

    def run(self) -> None:
        """Take requests until the client is gone. The main thread, which gets the signals, calls this."""
        for end in (self._wake, self._woken_by):
            end.setblocking(False)
        # A handler of Python, which the children do not inherit, unlike "ignored".
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)
        signal.set_wakeup_fd(self._woken_by.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._requests, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._requests:
                    if not self._take_request():
                        return
                elif key.fileobj is self._wake:
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                    self._report_ends()
                elif key.data in self._children:  # it may have been reported just now
                    self._take_signals(key.data)

    def _take_request(self) -> bool:
        """Take one request; False if the client is gone."""
        message, received, flags, _ = self._requests.recvmsg(
            LARGEST_REQUEST, socket.CMSG_SPACE(DESCRIPTORS * NUMBER.size), socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return False
        with contextlib.ExitStack() as closing:
            descriptors = _descriptors(received)
            for each in descriptors:
                closing.callback(_close, each)
            try:
                self._start(message, descriptors, flags)
            except _RequestRefused as refused:
                _log.warning("spawner.request_refused", why=str(refused))
        return True

    def _start(self, message: bytes, descriptors: list[int], flags: int) -> None:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(descriptors) != DESCRIPTORS:
            raise _RequestRefused(f"it has {len(descriptors)} descriptors, or is too long")
        streams, errors, files, control = descriptors
        channel = _control_socket(control)
        try:
            child = _Child(start_program(self._checked(message), streams, errors, files), channel)
        except (OSError, ValueError, _RequestRefused) as fault:
            number = fault.errno if isinstance(fault, OSError) else None
            _tell(channel, -(number or errno.EPERM))
            channel.close()
            if isinstance(fault, OSError):
                _log.warning("spawner.start_failed", error=str(fault))
                return
            raise _RequestRefused(str(fault)) from None
        self._children.append(child)
        self._selector.register(channel, selectors.EVENT_READ, child)
        _tell(channel, child.process.pid)

    def _checked(self, message: bytes) -> ChildProgram:
        """The program that the message asks for. Raises _RequestRefused."""
        try:
            program = msgspec.msgpack.decode(message, type=ChildProgram)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise _RequestRefused(str(fault)) from None
        if program.module not in self._modules:
            raise _RequestRefused("its program is none of ours")
        if program.reads is None:
            raise _RequestRefused("its program would not be fenced")
        if len(self._children) >= self._most:
            raise _RequestRefused("too many children are alive")
        return program

    def _take_signals(self, child: _Child) -> None:
        try:
            asked = child.control.recv(64)
        except BlockingIOError:
            return
        except OSError:
            asked = b""
        if not asked or not SIGNALS.issuperset(asked):  # the client is gone, or keeps to no rule
            self._selector.unregister(child.control)
            asked = bytes([signal.SIGKILL])
        try:
            for number in asked:
                child.process.send_signal(number)
        except OSError as fault:  # a container took the right from root
            _log.error("spawner.signal_failed", error=str(fault))

    def _report_ends(self) -> None:
        for child in list(self._children):
            status = child.process.poll()
            if status is None:
                continue
            self._children.remove(child)
            with contextlib.suppress(KeyError):  # the client has closed its end before
                self._selector.unregister(child.control)
            _tell(child.control, status)
            child.control.close()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The signal's byte in the wake socket is enough."""


def _descriptors(received: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in received:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _control_socket(descriptor: int) -> socket.socket:
    """A socket of its own for the descriptor. Raises _RequestRefused."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise _RequestRefused("its control socket is none")
    channel = socket.socket(fileno=os.dup(descriptor))
    if (channel.family, channel.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        channel.close()
        raise _RequestRefused("its control socket is of another kind")
    channel.setblocking(False)
    return channel


def _tell(channel: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        channel.send(NUMBER.pack(number))
