"""Whole bodies and whole answers in one step each.

ASGI moves a body and an answer in messages, each with a coroutine, a dictionary and checks. Most bodies
arrive with their head, and most answers are made before they are sent. For these, the application asks the
connection, and uses `receive` and `send` where the connection says that it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from lapel.hosting.connections.unread_bodies import UnreadBodies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from lapel.foundation.core.asgi import Scope

_NO_BODY = frozenset((204, 304))
# Headers with an effect on the connection, or on the form of the body.
_ENDINGS = frozenset((b"connection", b"transfer-encoding"))
# All bytes that a line of a head may have: all but the control characters other than tab.
_ALLOWED = bytes(byte for byte in range(256) if byte >= 0x20 and byte != 0x7F) + b"\t"


class WholeMessages(UnreadBodies):
    """A protocol whose application can take a whole body, and give a whole answer."""

    # The request that is being answered; `cycle` is the latest, which may wait for its turn.
    _running: RequestResponseCycle | None = None

    def _answering(self, scope: Scope) -> RequestResponseCycle | None:
        """The request with this scope; None if its client has disconnected, or another one has its turn."""
        cycle = self._running
        return None if cycle is None or cycle.scope is not scope or cycle.disconnected else cycle

    def whole_body(self, scope: Scope) -> bytes | None:
        """The whole body of the request with this scope, in place of the first `receive`.

        None if a part of it has not arrived, or if the client is gone.
        """
        cycle = self._answering(scope)
        if cycle is None or cycle.more_body or cycle.waiting_for_100_continue or cycle.response_complete:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()  # the next `receive` waits until the client leaves
        if self.flow.read_paused:
            self.flow.resume_reading()
        return body

    def answer(
        self, scope: Scope, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes | memoryview
    ) -> bool:
        """Send the whole answer of the request with this scope, in place of `send`.

        False, with no effect, if something about the connection, the request or the answer is unusual.
        `headers`: with names in lower case, and with the length of the body unless the status is 204 or 304.
        """
        cycle = self._answering(scope)
        if (
            cycle is None
            or cycle.response_started
            or not cycle.keep_alive
            or self._must_end(cycle)
            or self.flow.write_paused
            or scope["method"] == "HEAD"
            or (body and status in _NO_BODY)
        ):
            return False
        fields = [*self.server_state.default_headers, *headers]
        for name, _ in fields:
            if name in _ENDINGS:
                return False
        head = b"%b%b\r\n\r\n" % (STATUS_LINE[status], b"\r\n".join(map(b": ".join, fields)))
        if head.translate(None, _ALLOWED) != b"\r\n" * (len(fields) + 2):
            return False  # uvicorn refuses a header that would end its line, or has other control characters
        cycle.response_started = cycle.response_complete = True
        self.transport.write(head)
        if body:
            self.transport.write(body)
        cycle.message_event.set()
        cycle.on_response()
        return True
