"""How answers are written: in one write the head and the body that follows, and bodies without chunks.

uvicorn writes head and body one after the other: two system calls and two packets to the client.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HELD = 16 * 1024  # bytes; a longer first write is sent at once


class Flushes:
    """One callback at the end of the loop's iteration, for all transports that still hold a write then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._holding: list[JoinedTransport] = []

    def add(self, transport: JoinedTransport) -> None:
        """Flush this transport when the loop's iteration ends."""
        if not self._holding:
            self._loop.call_soon(self._flush)
        self._holding.append(transport)

    def _flush(self) -> None:
        holding, self._holding = self._holding, []
        for each in holding:
            each.flush()


class JoinedTransport(asyncio.Transport):
    """A transport that delays a short write until the next write or the end of the loop's iteration."""

    __slots__ = ("_flushes", "_held", "_transport")

    def __init__(self, transport: asyncio.Transport, flushes: Flushes) -> None:
        super().__init__()
        self._transport = transport
        self._flushes = flushes
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write now, or at the latest when the loop's iteration ends."""
        held = self._held
        if not held:
            if 0 < len(data) <= HELD:
                self._held = bytes(data)
                self._flushes.add(self)
            else:
                self._transport.write(data)
            return
        self._held = b""
        if self._transport.is_closing():
            # The client may have disconnected. `writelines` of asyncio (3.12 and later) would then watch the
            # descriptor for ever. The next connection gets this descriptor, and nothing would arrive on it.
            return
        if len(data) <= HELD:  # copying it costs less than two writes
            self._transport.write(b"".join((held, data)))
        else:
            self._transport.writelines((held, data))

    def write_now(self, data: bytes) -> None:
        """Write without a delay, after what is held."""
        if self._held:
            self.write(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def flush(self) -> None:
        """Write what is held."""
        held, self._held = self._held, b""
        # The client may have disconnected. Then uvloop's transport would raise, but not asyncio's.
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def write_eof(self) -> None:
        """Signal the end of the written data."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close after all written bytes are sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        self._held = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Number of bytes that are written but not yet sent."""
        return len(self._held) + self._transport.get_write_buffer_size()

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
