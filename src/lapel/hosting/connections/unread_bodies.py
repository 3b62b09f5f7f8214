"""Answers to requests whose bodies have not arrived, such as the refusal of a large upload.

Many clients read no answer before they have sent their whole body. If a connection closes while bytes of the
client are unread, the kernel resets it, and such a client sees a broken pipe in place of the answer. So a
connection that ends with its answer is half-closed first: the client sees the end of the answer, and the
server drops what still arrives, until the body is complete or a limit is reached.

Sources: RFC 9112, sections 9.3 and 9.6; RFC 9110, section 10.1.1 (a client that waits for 100 Continue).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lapel.hosting.connections.direct_transfer import KnownBodies

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGISendEvent
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

DROPPED = 256 << 20  # bytes that a client may send after its answer

IDLE, HEAD, BODY, ENDED = range(4)
"""Phases of a connection: between two requests, in a head, in a body, and after the last answer."""


class UnreadBodies(KnownBodies):
    """A protocol that lets a client read its answer although the body is not complete."""

    stopping: ClassVar[asyncio.Event]  # set when the server begins to stop

    _phase: int = HEAD  # of the parser
    _turn: int = 0  # counts changes of the phase, so that the sweep also notices a return to a phase
    _in_chunks = False  # the length of the body is not known
    _droppable = DROPPED

    def _must_end(self, cycle: RequestResponseCycle) -> bool:
        """Whether the connection must end with an answer that begins now: where the next request begins is
        not certain, or too far away."""
        return cycle.waiting_for_100_continue or (
            cycle is self.cycle and cycle.more_body and (self._in_chunks or self._body_left > DROPPED)
        )

    def _end_if_unread(self, cycle: RequestResponseCycle) -> None:
        """Let the answer say that the connection ends, if it must end when the answer begins."""
        send = cycle.send

        async def send_ending(message: ASGISendEvent) -> None:
            if not cycle.response_started and self._must_end(cycle):
                cycle.keep_alive = False
            await send(message)

        cycle.send = send_ending

    def _linger(self) -> bool:
        """Half-close the connection in place of closing it, if the client may be sending the rest of a body.
        Returns whether it did."""
        if self._phase != BODY or not self.cycle.response_complete:
            return False
        self._end(self._body_left or DROPPED)
        return True

    def _end(self, droppable: int) -> None:
        """Send what is written and the end of it; drop so many bytes of the client, and then close.

        A server that stops closes at once: its end waits for no client who goes on sending.
        """
        self._phase = ENDED
        self._turn += 1
        self._droppable = min(droppable, DROPPED)
        if self.transport.can_write_eof():  # TLS cannot
            self.transport.write_eof()
        if self.stopping.is_set():
            self.transport.close()
        else:
            self.flow.resume_reading()

    def _drop(self, size: int) -> None:
        self._droppable -= size
        if self._droppable <= 0:
            self.transport.close()
