"""Time and size limits for HTTP connections that uvicorn and httptools do not have.

A subclass of uvicorn's protocol ends a connection that exceeds a limit. A client has `header_timeout` to send
its request line and headers, must move a body (in either direction) at least at `MINIMUM_RATE` over each
`body_timeout`, and may send `header_limit` bytes and `MAX_HEADERS` headers. It may also send `header_limit`
bytes between two pieces of a body in chunks, because the parser keeps a trailer that does not end, and copies
it with each piece that comes. A body may take hours as long as it moves. The limits cost a request only a few
counters: one sweep checks the time of all connections together, every second or more often. Nothing limits
how many connections one address opens.

A client may send requests before it has read earlier answers (pipelining). At most the requests of one PIECE
wait, parsed, for their turn; the transport then reads no further. uvicorn reads on with each answer.

Sources: RFC 9112 (HTTP/1.1; section 3.2 for the one Host header, 6.1 for codings, 6.3 for where a body ends,
9.3.2 for pipelining), RFC 9110, sections 15.5.9 (408), 15.6.2 (501) and 15.6.6 (505), and RFC 6585, section 5
(431).

docs/decisions/0009 gives the reasons.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, cast
from weakref import ref

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl

from lapel.foundation.core.asgi import CONNECTION
from lapel.hosting.connections.direct_transfer import DirectTransfer
from lapel.hosting.connections.early_refusals import EarlyRefusal, refusal_answer, report_refusal
from lapel.hosting.connections.unread_bodies import BODY, DROPPED, ENDED, HEAD, IDLE
from lapel.hosting.connections.whole_messages import WholeMessages
from lapel.hosting.connections.write_coalescing import Flushes, JoinedTransport, send_unframed

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from lapel.foundation.core.asgi import Scope

MINIMUM_RATE = 1024  # bytes per second
MAX_HEADERS = 200
PIECE = 4096  # bytes that are parsed at once, if they are not part of one body
# Pieces of a body that are parsed in one iteration of the event loop, and those of a PIECE more.
AT_ONCE = 500
LINGER = 2.0  # seconds for which a client whose request is no HTTP may still send, so that it can read why


@dataclasses.dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of a connection: the timeouts in seconds, `header_limit` in bytes.

    `request_id` makes the id of a refusal.
    """

    header_timeout: float
    body_timeout: float
    header_limit: int
    request_id: Callable[[], str]

    @property
    def sweep(self) -> float:
        """Seconds between two sweeps."""
        return min(1.0, self.header_timeout / 8, self.body_timeout / 8)


class _HeldFlow(FlowControl):
    """Reading stays paused while `held`, whatever the application asks for."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class GuardedProtocol(WholeMessages):
    """One connection under `limits`; `guarded` makes a class for one server."""

    limits: ClassVar[HttpLimits]
    sweeping: ClassVar[asyncio.TimerHandle | None] = None
    flushes: ClassVar[Flushes | None] = None

    _reading: _HeldFlow  # is `flow`
    _joined: JoinedTransport  # is `transport`
    _unparsed = b""  # arrived while requests wait for their turn

    _head_bytes = 0
    _refusal: EarlyRefusal | None = None
    _lingers = LINGER  # seconds from the last answer

    # What the sweep saw last.
    _seen: tuple[int, int, bool] = (-1, -1, False)
    _since = 0.0
    _moved_then = 0
    _unsent_since: float | None = None
    _taken_then = 0
    _all_taken = 0  # when so many bytes are taken, the client has all that waited then

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has connected; the clock runs from here."""
        super().connection_made(transport)
        kind = type(self)
        flushes = kind.flushes = kind.flushes or Flushes(self.loop)
        self.transport = self._joined = JoinedTransport(transport, flushes, self._linger)
        self.flow = self._reading = _HeldFlow(transport)
        if kind.sweeping is None:
            kind.sweeping = self.loop.call_later(self.limits.sweep, _sweep, kind, self.loop, self.connections)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._phase == ENDED:
            self._drop(len(data))
            return
        if self._reading.held:
            self._unparsed += data
            return
        self._pieces = 0
        rest = data if len(data) <= PIECE else memoryview(data)
        while rest and self._phase != ENDED:
            if self.pipeline or self._pieces > AT_ONCE:
                self._reading.held = True
                self.flow.pause_reading()
                self._unparsed = bytes(rest)
                if not self.pipeline:
                    self.loop.call_soon(self._read_on)
                return
            is_body = self._phase == BODY and self._body_left > 0
            size = self._body_left if is_body else PIECE
            piece = data if len(rest) == len(data) <= size else bytes(rest[:size])
            (self._take_body if is_body else self._parse)(piece)
            rest = rest[size:]

    def _parse(self, data: bytes) -> None:
        if self._phase == IDLE:
            self._begin_head()
        self._fed += len(data)
        super().data_received(data)
        if self._fed > self.limits.header_limit and self._phase in (HEAD, BODY):
            what = "headers" if self._phase == HEAD else "trailers or chunk extensions"
            self._refuse(EarlyRefusal(431, f"The {what} are too large."))

    def on_response_complete(self) -> None:
        """An answer is complete: the next request begins, and after the last one reading goes on.

        In place of uvicorn's, which starts a timer for every answer: the sweep ends idle connections.
        """
        self.server_state.total_requests += 1
        if self._running is not None:
            self._running.body = bytearray()  # nobody takes what waits, and the connection may last long
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        self._read_on()

    def _read_on(self) -> None:
        """Parse what is held, unless requests wait for their turn. Then read, unless much of a body waits."""
        if not self._reading.held or self.pipeline or self.transport.is_closing():
            return
        self._reading.held = False
        unparsed, self._unparsed = self._unparsed, b""
        self.data_received(unparsed)
        if len(self.cycle.body) <= HIGH_WATER_LIMIT or self.cycle.response_complete:
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; uvicorn tells only the latest request, also if another is answered."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self._forget_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """The parser has stopped, because of its own rules or because a callback refused."""
        self._refuse(self._refusal or EarlyRefusal(400, msg))

    def on_message_begin(self) -> None:
        """A request line begins."""
        if self._phase != HEAD:
            self._begin_head()
        self._head_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header. Trailers come here too, after the body: they are dropped, not added."""
        if self._phase != HEAD:
            return
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.limits.header_limit or len(self.headers) >= MAX_HEADERS:
            self._fail(431, "The headers are too large or too many.")
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete; the application begins."""
        if len(self.url) + self._head_bytes > self.limits.header_limit:
            self._fail(431, "The request line and headers are too large.")
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:  # without a version it is HTTP/0.9
            self._fail(505, "This server speaks HTTP/1.1 and HTTP/1.0.")
        self._check_framing(version)
        super().on_headers_complete()
        cast("Scope", self.scope)[CONNECTION] = self
        if version == "1.0":
            send_unframed(self.cycle)
        if self.expect_100_continue or self._in_chunks or self._body_left > DROPPED:
            self._end_if_unread(self.cycle)
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # what follows is not HTTP to the parser
        self._phase = BODY
        self._turn += 1

    def _check_framing(self, version: str) -> None:
        """Refuse a request whose host or whose end is not certain."""
        hosts, self._body_left = 0, 0
        codings: list[bytes] = []
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                self._body_left = int(value)  # the parser takes only digits
            elif name == b"transfer-encoding":
                codings += (each.strip() for each in value.lower().split(b","))
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._fail(400, "A request must have one Host header.")
        if codings and codings[-1] != b"chunked":
            self._fail(400, "The last `Transfer-Encoding` of a request is chunked.")
        if len(codings) > 1:
            self._fail(501, "The only `Transfer-Encoding` that this server decodes is chunked.")
        self._in_chunks = bool(codings)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._phase = IDLE
        self._turn += 1
        self._body_left = 0
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def check(self, now: float) -> None:
        """Ends the connection when it has exceeded a limit. `now`: the loop's time, seconds."""
        answered = self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]
        seen = (self._phase, self._turn, answered)
        if seen != self._seen:
            self._seen, self._since, self._moved_then = seen, now, self._moved
        elif self._phase == HEAD:
            if answered and now - self._since > self.limits.header_timeout:
                self._refuse(EarlyRefusal(408, "The headers did not arrive in time."))
        elif self._phase == BODY:
            self._check_body(now, answered)
        elif self._phase == ENDED and now - self._since > self._lingers:
            self.transport.abort()
        elif self._phase == IDLE and answered and now - self._since > self.timeout_keep_alive:
            self.transport.close()
        self._check_unsent(now)

    def _check_body(self, now: float, answered: bool) -> None:
        if not answered and (self.flow.read_paused or self.cycle.waiting_for_100_continue):
            self._since, self._moved_then = now, self._moved  # the client waits for us
        elif now - self._since > self.limits.body_timeout:
            if answered:  # nothing needs the rest of this body
                self.transport.abort()
            elif self._moved - self._moved_then < MINIMUM_RATE * self.limits.body_timeout:
                self._refuse(EarlyRefusal(408, "The body did not arrive in time."))
            else:
                self._since, self._moved_then = now, self._moved

    def _check_unsent(self, now: float) -> None:
        unsent, taken = self._joined.unsent(), self._joined.taken()
        if unsent == 0:
            self._unsent_since = None
            return
        since = self._unsent_since
        if since is not None and taken < self._all_taken:
            if now - since <= self.limits.body_timeout:
                return
            if taken - self._taken_then < MINIMUM_RATE * self.limits.body_timeout:
                self.transport.abort()
        self._unsent_since, self._taken_then, self._all_taken = now, taken, taken + unsent

    def _linger(self) -> bool:
        """Let a client that is sending a body read its answer, in place of closing the connection."""
        self._lingers = self.limits.body_timeout
        return super()._linger()

    def hang_up(self, scope: Scope) -> None:
        """Ends the connection for the application, which leaves this request's answer unfinished."""
        cycle = self._answering(scope)
        if cycle is not None:
            cycle.disconnected = True  # otherwise uvicorn logs it as an error of the application
        self.transport.abort()

    def is_gone(self, scope: Scope) -> bool:
        """Whether the client of this request has disconnected, or has its answer."""
        return self._answering(scope) is None

    def direct(self) -> DirectTransfer:
        """Moves bytes of the request that is being answered in threads of the application."""
        return DirectTransfer(self, ref(cast("RequestResponseCycle", self._running)))

    def _begin_head(self) -> None:
        self._phase = HEAD
        self._turn += 1
        self._fed = 0
        self.headers = []  # those of the request before are not this one's

    def _fail(self, status: int, message: str) -> None:
        """Stops the parser; uvicorn then calls `send_400_response`."""
        self._refusal = EarlyRefusal(status, message)
        raise self._refusal

    def _refuse(self, refusal: EarlyRefusal) -> None:
        """Answers in the contract's form, gives the client a moment to read the answer, and hangs up."""
        if self._phase == ENDED or self.transport.is_closing():
            return
        started, self._phase = self._fed > 0, ENDED
        self._turn += 1
        self._forget_waiting()
        cycle = self._running
        if cycle is not None and not cycle.response_complete:
            started = True  # garbage came behind a body in one packet: the body's request awaits an answer
            if cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False  # it would be written behind the end of the answer
            cycle.message_event.set()
        if not started:
            self.transport.close()
            return
        self._unset_keepalive_if_required()
        request_id = self.limits.request_id()
        report_refusal(refusal.status, request_id, self.headers or ())
        self.transport.write(refusal_answer(refusal, request_id))
        self._end(DROPPED)

    def _forget_waiting(self) -> None:
        """Drop the requests that wait for their turn, and what is not parsed yet."""
        self.pipeline.clear()
        self._unparsed = b""
        self._reading.held = False


def guarded(limits: HttpLimits, stopping: asyncio.Event) -> type[GuardedProtocol]:
    """A protocol class for one server with these limits. `stopping` is set when the server begins to stop."""
    return type("Guarded", (GuardedProtocol,), {"limits": limits, "stopping": stopping})


def _sweep(
    kind: type[GuardedProtocol], loop: asyncio.AbstractEventLoop, connections: Iterable[object]
) -> None:
    now = loop.time()
    kind.sweeping = None
    for connection in tuple(connections):
        if isinstance(connection, kind):
            connection.check(now)
            kind.sweeping = kind.sweeping or loop.call_later(
                kind.limits.sweep, _sweep, kind, loop, connections
            )
