"""Large bodies between a socket and a file or memory of the application: no parser, no event loop, no copies.

An application with `ClientConnection.direct` moves bytes in its own threads, a slice at a time. A slice ends
when the client is not fast enough. Then the application goes on with `receive` or `send`, in the event loop,
where all limits for slow clients hold: a slow client does not occupy a thread.

Sources: recv(2), sendfile(2) and poll(2) of the Linux man-pages; RFC 9112, 6.3.
"""

from __future__ import annotations

import os
import select
import time
from functools import partial
from typing import TYPE_CHECKING

import httptools

from lapel.hosting.connections.body_pieces import BodyPieces

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ref

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from lapel.foundation.core.asgi import InThread

SLICE = 0.005  # seconds for which a thread moves bytes; others wait for the thread meanwhile
_PAUSE = 2  # milliseconds for which a client may pause within a slice
_STEP = 4 * 1024 * 1024  # bytes that are sent between two looks at the clock


class KnownBodies(BodyPieces):
    """A protocol that gives the parser no bytes of a body of known length, which it would copy."""

    def _take_body(self, piece: bytes) -> None:
        self.on_body(piece)
        self._end_body()

    def take_read(self, size: int) -> None:
        """Count bytes of the body that the application has read from the socket."""
        self._moved += size
        self._body_left -= size
        self._end_body()

    def readable(self, cycle: RequestResponseCycle) -> int:
        """How many bytes of this request's body can be read from the socket."""
        if cycle is not self.cycle or cycle.body or self.scheme != "http":
            return 0
        return self._body_left

    def _end_body(self) -> None:
        if not self._body_left:
            self.on_message_complete()
            self.parser = httptools.HttpRequestParser(self)  # the former one still expects this body
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's


class DirectTransfer:
    """What moves bytes of one request: see `DirectBytes`."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: KnownBodies, cycle: ref[RequestResponseCycle]) -> None:
        self._protocol = protocol
        self._cycle = cycle

    async def receive_into(self, buffer: memoryview, in_thread: InThread) -> int:
        """Fill the buffer with the next bytes of the body. Returns their number, which is 0 if none came
        soon, if bytes that arrived wait for `receive`, and if the body must go through the parser.
        """
        protocol, cycle = self._protocol, self._usable()
        left = protocol.readable(cycle) if cycle is not None else 0
        if not left:
            return 0
        protocol.flow.pause_reading()  # `receive` resumes it
        got = await self._run(in_thread, _receive, buffer[:left])
        if self._usable() is not None:
            protocol.take_read(got)
        return got

    async def send_file(self, file: int, offset: int, length: int, in_thread: InThread) -> int:
        """Send bytes of a file as the next bytes of the body. Returns their number, which is 0 if the client
        does not read at once, if other bytes must be sent first, and if the bytes must be encoded.
        """
        protocol, cycle = self._protocol, self._usable()
        if cycle is None or cycle.chunked_encoding is not False or protocol.scheme != "http":
            return 0
        if protocol.transport.get_write_buffer_size():
            return 0
        sent = await self._run(in_thread, _send, file, offset, min(length, cycle.expected_content_length))
        cycle.expected_content_length -= sent
        return sent

    def _usable(self) -> RequestResponseCycle | None:
        cycle = self._cycle()
        return None if cycle is None or cycle.disconnected or self._protocol.transport.is_closing() else cycle

    async def _run(self, in_thread: InThread, function: Callable[..., int], *args: object) -> int:
        """Call the function with a descriptor that stays open if the event loop closes its own."""
        transport = self._protocol.transport
        try:
            fd = os.dup(transport.get_extra_info("socket").fileno())
        except OSError:  # there is no free descriptor
            return 0
        try:
            return await in_thread(partial(function, fd, *args))
        except BaseException:
            transport.abort()  # nobody knows how many bytes were moved
            raise
        finally:
            os.close(fd)


def _receive(fd: int, buffer: memoryview) -> int:
    """Returns fewer bytes than fit if the client pauses or is gone. The event loop finds out which."""
    filled, clock = 0, _Clock(fd, select.POLLIN)
    while filled < len(buffer):
        try:
            got = os.readv(fd, [buffer[filled:]])
        except BlockingIOError:
            if clock.is_ready():
                continue
            break
        except OSError:
            break
        if not got:
            break
        filled += got
    return filled


def _send(fd: int, file: int, offset: int, length: int) -> int:
    sent, clock = 0, _Clock(fd, select.POLLOUT)
    while sent < length and clock.runs():
        try:
            done = os.sendfile(fd, file, offset + sent, min(length - sent, _STEP))
        except BlockingIOError:
            if clock.is_ready():
                continue
            break
        except OSError:  # the client is gone, or the file system cannot do it
            break
        if not done:
            break
        sent += done
    return sent


class _Clock:
    """The end of a slice, and waiting for the socket within it."""

    def __init__(self, fd: int, event: int) -> None:
        self._ends = time.monotonic() + SLICE
        self._poll = select.poll()
        self._poll.register(fd, event)

    def runs(self) -> bool:
        return time.monotonic() < self._ends

    def is_ready(self) -> bool:
        return self.runs() and bool(self._poll.poll(_PAUSE))
