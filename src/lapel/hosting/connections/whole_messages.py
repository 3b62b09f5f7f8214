"""Whole bodies and whole answers in one step each.

ASGI moves a body and an answer in messages, each with a coroutine, a dictionary and checks. Most bodies
arrive with their head, and most answers are made before they are sent. For these, the application asks the
connection, and uses `receive` and `send` where the connection says that it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from lapel.hosting.connections.direct_transfer import KnownBodies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from lapel.foundation.core.asgi import Scope
    from lapel.hosting.connections.write_coalescing import JoinedTransport


class WholeMessages(KnownBodies):
    """A protocol whose application can take a whole body, and give a whole answer."""

    # The request that is being answered; `cycle` is the latest, which may wait for its turn.
    _running: RequestResponseCycle | None = None

    def whole_body(self, scope: Scope) -> bytes | None:
        """The whole body of the request with this scope, in place of the first `receive`.

        None if a part of it has not arrived, or if the client is gone.
        """
        cycle = self._running
        if (
            cycle is None
            or cycle.scope is not scope
            or cycle.more_body
            or cycle.waiting_for_100_continue
            or cycle.disconnected
            or cycle.response_complete
        ):
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()  # the next `receive` waits until the client leaves
        if self.flow.read_paused:
            self.flow.resume_reading()
        return body

    def answer(self, scope: Scope, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send the whole answer of the request with this scope, in place of `send`.

        False, with no effect, if something about the connection, the request or the answer is unusual.
        `headers` have the length of the body; all names are in lower case.
        """
        cycle = self._running
        if (
            cycle is None
            or cycle.scope is not scope
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or self.flow.write_paused
            or scope["method"] == "HEAD"
        ):
            return False
        parts = [STATUS_LINE[status]]
        lines = 2
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
            lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
            return False  # uvicorn refuses a header that would end its line
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cast("JoinedTransport", self.transport).write_now(head + body)
        cycle.message_event.set()
        cycle.on_response()
        return True
