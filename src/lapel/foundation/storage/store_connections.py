"""Small HTTP requests to the store, without a thread: an answer is parsed in the event loop as it arrives.

A completion waits for three such requests, one after the other. Between the processes of one machine, other
threads and the layers of a general client take longer than the store itself (docs/decisions/0036).

Sources: RFC 9112, HTTP/1.1 (6.3, length of a body; 9.3.1, a request that may be repeated).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from lapel.foundation.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECT_SECONDS = 3.0
# Connections that are unused for longer may be dead, and nobody has said so: a router forgets them.
_IDLE_SECONDS = 15.0
_IDLE_MOST = 16
_MOST_OF_AN_ANSWER = 128 * 1024  # bytes, head included


class StoreAnswer(NamedTuple):
    """An answer of the store; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _HungUp(Exception):
    """The store has closed the connection before the first byte of an answer."""


class _StoreConnection(asyncio.Protocol):
    """One connection: one request after the other. `open`: it can take another request."""

    def __init__(self) -> None:
        self.open = False
        self.unused_since = 0.0
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[StoreAnswer] | None = None
        self._begun = self._without_body = False
        self._size = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    async def exchange(self, request: bytes, *, without_body: bool) -> StoreAnswer:
        """Send a request and return its answer. `without_body`: the answer to a HEAD has none.

        Raises _HungUp, and StoreUnavailable when the answer is broken. A caller that is cancelled ends the
        connection.
        """
        if self._transport is None or not self.open:
            raise _HungUp
        self.open, self._begun, self._without_body = False, False, without_body
        self._size, self._headers, self._body = 0, {}, []
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            answer = await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None
        if not self.open:  # the store closes it after this answer
            self.close()
        return answer

    def close(self) -> None:
        """End the connection at once."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # ---- called by the event loop -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection can take a request."""
        # Not a subclass of asyncio's in uvloop.
        self._transport, self.open = cast("asyncio.WriteTransport", transport), True

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the exchange that waits for an answer."""
        self.open, self._transport = False, None
        self._fail(StoreUnavailable(f"the store hangs up in an answer: {exc}") if self._begun else _HungUp())

    def data_received(self, data: bytes) -> None:
        """Parse a piece of the answer. A store that speaks without being asked loses the connection."""
        self._begun = True
        self._size += len(data)
        if self._answer is None or self._answer.done() or self._size > _MOST_OF_AN_ANSWER:
            self._fail(StoreUnavailable("the store answers more than it was asked for"))
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(StoreUnavailable(f"the store does not answer in HTTP: {error}"))
            self.close()

    # ---- called by the parser -----------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins. Behind another one, nobody has asked for it."""
        if self._answer is None or self._answer.done():
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """An answer to a HEAD ends here."""
        if self._without_body:
            self._end()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body. After a HEAD it would be taken for the next answer."""
        if self._without_body:
            self.close()
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Any other answer ends here."""
        self._end()

    def _end(self) -> None:
        status = self._parser.get_status_code()
        if self._answer is None or self._answer.done():
            return
        if status < 200:  # the answer is still to come
            self._headers.clear()
            return
        self.open = self._parser.should_keep_alive()
        self.unused_since = time.monotonic()
        self._answer.set_result(StoreAnswer(status, self._headers, b"".join(self._body)))
        self._headers = {}

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class StoreConnections:
    """Connections to one origin (`https://host:port`), which are used again until `close`."""

    def __init__(self, origin: str, trust: ssl.SSLContext | None = None) -> None:
        """`trust`: the authorities for https; None: those of the system."""
        parts = urlsplit(origin)
        self._host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._trust = trust
        self._port = parts.port or (443 if self._secure else 80)
        self._idle: deque[_StoreConnection] = deque()
        self._closed = False

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], *, seconds: float
    ) -> StoreAnswer:
        """The answer to a request without a body that may be repeated. `headers` have the host.

        Raises StoreUnavailable when there is no complete answer within `seconds`.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        length = "" if method == "HEAD" else "content-length: 0\r\n"
        request = f"{method} {target} HTTP/1.1\r\n{lines}{length}\r\n".encode()
        try:
            async with asyncio.timeout(seconds):
                return await self._send(request, without_body=method == "HEAD")
        except (OSError, TimeoutError) as error:
            raise StoreUnavailable(f"{type(error).__name__} at a {method} to the store: {error}") from error

    async def close(self) -> None:
        """Close the connections that no request uses, and the others after their requests."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def _send(self, request: bytes, *, without_body: bool) -> StoreAnswer:
        used = self._take()
        if used is not None:
            try:
                return await self._exchange(used, request, without_body=without_body)
            except _HungUp:  # the store closed it just then, because it was unused
                pass
        try:
            return await self._exchange(await self._connect(), request, without_body=without_body)
        except _HungUp:
            raise StoreUnavailable("the store hangs up without an answer") from None

    async def _exchange(
        self, connection: _StoreConnection, request: bytes, *, without_body: bool
    ) -> StoreAnswer:
        answer = await connection.exchange(request, without_body=without_body)
        if self._closed:
            connection.close()
        elif connection.open:
            self._idle.append(connection)
            if len(self._idle) > _IDLE_MOST:
                self._idle.popleft().close()
        return answer

    def _take(self) -> _StoreConnection | None:
        """The connection that was used last; closes those that were unused for long."""
        oldest = time.monotonic() - _IDLE_SECONDS
        while self._idle and (self._idle[0].unused_since < oldest or not self._idle[0].open):
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> _StoreConnection:
        trust = (self._trust or _system()) if self._secure else None
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(
                _StoreConnection, self._host, self._port, ssl=trust
            )
        return connection


@cache
def _system() -> ssl.SSLContext:
    """The authorities of the system: to read them takes longer than a small request."""
    return ssl.create_default_context()
