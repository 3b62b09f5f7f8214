"""How answers are written: the head and the body that follows in one write, and bodies without chunks.

uvicorn writes head and body one after the other: two system calls and two packets to the client. uvloop sends
each write at once. That wakes a process on the same machine that waits for it, such as a proxy, and takes the
sender up to 8 µs. So answers are written when the loop's iteration ends, if they are not long: the first one
wakes a client of several connections, which is then busy when the others come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn._types import ASGISendEvent
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HELD = 16 * 1024  # bytes; a longer first write is sent at once
BODY = 128 * 1024  # bytes; a longer second write is sent at once, with the first
TOGETHER = 1 << 20  # bytes of second writes; when all transports hold more, all are sent

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Flushes:
    """One callback at the end of the loop's iteration, for all transports that still hold a write then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._holding: list[JoinedTransport] = []
        self._bytes = 0

    def add(self, transport: JoinedTransport) -> None:
        """Flush this transport when the loop's iteration ends."""
        if not self._holding:
            self._loop.call_soon(self._flush)
        self._holding.append(transport)

    def grow(self, size: int) -> None:
        """A transport that was added holds so many bytes more. Flushes all, if they are too many."""
        self._bytes += size
        if self._bytes > TOGETHER:
            self._flush()

    def _flush(self) -> None:
        holding, self._holding, self._bytes = self._holding, [], 0
        for each in holding:
            try:
                each.flush()
            except Exception:  # noqa: BLE001 - the others still get their answers
                _log.exception("connection.flush_failed")
                each.abort()


class JoinedTransport(asyncio.Transport):
    """A transport that delays a short write, and one that follows it, until the end of the loop's iteration,
    or until a third write.

    `linger` is called before a close; if it returns True, it has ended what is written, and the transport
    stays open.
    """

    __slots__ = ("_body", "_ended", "_flushes", "_held", "_linger", "_transport", "_written")

    def __init__(
        self, transport: asyncio.Transport, flushes: Flushes, linger: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__()
        self._transport = transport
        self._flushes = flushes
        self._linger = linger
        self._held = b""
        self._body: bytes | bytearray | memoryview = b""
        self._ended = False
        self._written = 0  # bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write now, or at the latest when the loop's iteration ends; nothing after `write_eof`."""
        if self._ended:
            return
        if self._body:
            self.flush()
        size = len(data)
        self._written += size
        if not self._held:
            if 0 < size <= HELD:
                self._held = bytes(data)
                self._flushes.add(self)
            else:
                self._transport.write(data)
        elif size <= BODY:
            # A bytearray may change. A view may not: asyncio and uvloop keep what they cannot send at once.
            self._body = bytes(data) if isinstance(data, bytearray) else data
            self._flushes.grow(size)
        else:
            self._body = data
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        held, self._held = self._held, b""
        body, self._body = self._body, b""
        # The client may have disconnected. uvloop's transport would raise then. `writelines` of asyncio (3.12
        # and later) would watch the descriptor for ever. The next connection gets this descriptor, and
        # nothing would arrive on it.
        if self._transport.is_closing():
            return
        if len(body) > HELD:
            self._transport.writelines((held, body))
        elif held:
            self._transport.write(b"".join((held, body)))  # copying it costs less than two writes

    def write_eof(self) -> None:
        """Signal the end of the written data."""
        self.flush()
        self._ended = True
        self._transport.write_eof()

    def close(self) -> None:
        """Close after all written bytes are sent."""
        if not self._linger():
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        self._held = self._body = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Number of bytes that are written but not yet sent."""
        return len(self._held) + len(self._body) + self._transport.get_write_buffer_size()

    def unsent(self) -> int:
        """Number of bytes that the system did not take. What is held was not offered to it yet."""
        return self._transport.get_write_buffer_size()

    def taken(self) -> int:
        """Number of written bytes that the system took."""
        return self._written - self.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._transport.is_closing()

    def can_write_eof(self) -> bool:
        """Whether the write side can be closed alone; false with TLS."""
        return self._transport.can_write_eof()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Addresses, socket, TLS: the information of the wrapped transport."""
        return self._transport.get_extra_info(name, default)

    def is_reading(self) -> bool:
        """Whether the transport reads arriving bytes."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """Leave arriving bytes in the kernel's buffer."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()


def send_unframed(cycle: RequestResponseCycle) -> None:
    """Sends a body of unknown length over HTTP/1.0, which has no chunks: the body ends with the
    connection."""
    send = cycle.send
    unframed = False

    async def send_plain(message: ASGISendEvent) -> None:
        nonlocal unframed
        if message["type"] == "http.response.start":
            unframed = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
            if unframed:
                cycle.chunked_encoding = False
        elif message["type"] == "http.response.body" and unframed:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_plain
