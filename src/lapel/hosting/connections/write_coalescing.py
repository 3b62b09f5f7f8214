"""One write for the head of an answer and the body that follows.

uvicorn writes head and body one after the other: two system calls and two packets to the client.
"""

from __future__ import annotations

import asyncio

HELD = 16 * 1024  # bytes; a longer first write is sent at once


class JoinedTransport(asyncio.Transport):
    """A transport that delays a short write until the next write or the end of the loop's iteration."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write now, or at the latest when the loop's iteration ends."""
        held = self._held
        if not held:
            if 0 < len(data) <= HELD:
                self._held = bytes(data)
                self._loop.call_soon(self._flush)
            else:
                self._transport.write(data)
            return
        self._held = b""
        if len(data) <= HELD:  # copying it costs less than two writes
            self._transport.write(b"".join((held, data)))
        else:
            self._transport.writelines((held, data))

    def _flush(self) -> None:
        held, self._held = self._held, b""
        # The client may have disconnected. Then uvloop's transport would raise, but not asyncio's.
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def write_eof(self) -> None:
        """Signal the end of the written data."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close after all written bytes are sent."""
        self._flush()
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
