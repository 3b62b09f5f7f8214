"""One write for the head of an answer and the body behind it.

uvicorn writes them one after the other, each with a system call and, to the client, a packet of its own.
"""

from __future__ import annotations

import asyncio

HELD = 16 * 1024  # bytes; a longer first write is not worth waiting for


class JoinedTransport(asyncio.Transport):
    """A transport that holds a short write back until the next one, or until the end of the loop's turn."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, now or at the latest when the loop's turn ends."""
        held = self._held
        if not held:
            if 0 < len(data) <= HELD:
                self._held = bytes(data)
                self._loop.call_soon(self._flush)
            else:
                self._transport.write(data)
            return
        self._held = b""
        if len(data) <= HELD:  # to copy it is cheaper than to hand on two pieces
            self._transport.write(b"".join((held, data)))
        else:
            self._transport.writelines((held, data))

    def _flush(self) -> None:
        held, self._held = self._held, b""
        # A client may be lost within the turn: then uvloop's transport raises, where asyncio's is silent.
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def write_eof(self) -> None:
        """Say that nothing follows what was written."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close once all that was written is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._held = b""
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not yet sent."""
        return len(self._held) + self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Tell whether the connection is closing or closed."""
        return self._transport.is_closing()

    def can_write_eof(self) -> bool:
        """Tell whether one side can be closed alone; not so with TLS."""
        return self._transport.can_write_eof()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Addresses, socket, TLS: whatever the transport below knows."""
        return self._transport.get_extra_info(name, default)

    def is_reading(self) -> bool:
        """Tell whether what arrives is read."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._transport.resume_reading()
