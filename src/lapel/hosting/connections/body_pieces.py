"""The pieces of a body, as the parser finds them.

uvicorn collects them in a bytearray, which copies each piece twice. Most bodies come in few pieces, but a
body in chunks may come in millions: a chunk has one byte or more.
"""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BodyPieces(HttpToolsProtocol):
    """A protocol that keeps what has arrived of a body until the application takes it."""

    _moved: int = 0  # bytes of body that arrived
    _body_left: int = 0  # bytes of a body with Content-Length that have not arrived yet
    _pieces: int = 0  # that were found in the bytes which are being parsed
    _fed: int = 0  # bytes since the head began, or since the last byte of a body: trailers and chunk lines

    def on_body(self, body: bytes) -> None:
        """A piece of a body. When nothing waits, this piece itself waits, and `receive` returns it as it
        is."""
        self._moved += len(body)
        self._pieces += 1
        self._fed = 0
        if self._body_left:  # else the body comes in chunks
            self._body_left -= len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        if not cycle.body:
            cycle.body = body  # pyright: ignore[reportAttributeAccessIssue]
        else:
            if not isinstance(cycle.body, bytearray):  # pyright: ignore[reportUnnecessaryIsInstance]
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()
