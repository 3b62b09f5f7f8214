"""HTTP/1.1 for the tests' client: of a call through httpx, most of the time goes to what can do much more."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from typing import Any, cast

import httptools
import httpx

from tests.support.patience import LONG

AT_ONCE = 100  # connections; further requests wait


class Loopback(httpx.AsyncBaseTransport):
    """Plain HTTP that keeps its connections. Reads each answer to its end before it hands it on; of a stream
    of events, which has no end, only the head."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[_Connection]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.TransportError as httpx does."""
        place = (request.url.host, request.url.port or 80)
        async with self._places:
            connection = self._kept(place) or await _connect(place)
            try:
                async with asyncio.timeout(request.extensions.get("timeout", {}).get("read")):
                    answer = await connection.exchange(request)
            except TimeoutError as late:
                connection.close()
                raise httpx.ReadTimeout(str(late), request=request) from late
            except BaseException:
                connection.close()
                raise
            if connection.is_reusable:
                self._idle.setdefault(place, []).append(connection)
            else:
                connection.close()
            return answer

    def _kept(self, place: tuple[str, int]) -> _Connection | None:
        idle = self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if connection.is_alive():
                return connection
            connection.close()
        return None

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for each in connections:
                each.close()
        self._idle.clear()


def loopback_client(base_url: str = "", timeout: float = LONG, **more: Any) -> httpx.AsyncClient:
    """A client of servers on this machine. Close it. `more`: arguments of httpx.AsyncClient."""
    return httpx.AsyncClient(
        base_url=base_url, timeout=timeout, trust_env=False, transport=Loopback(), **more
    )


async def _connect(place: tuple[str, int]) -> _Connection:
    try:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, *place)
    except OSError as refused:
        raise httpx.ConnectError(str(refused)) from refused
    return connection


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is arriving on it."""

    def __init__(self) -> None:
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False
        self._answer: asyncio.Future[None] | None = None

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer to it."""
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._without_body = request.method == "HEAD"
        self._is_sent = False
        self._reset()
        await self._send(request)
        await self._answer
        return httpx.Response(
            self._status,
            headers=self._headers,
            stream=httpx.ByteStream(b"".join(self._body)),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": self._reason},
        )

    async def _send(self, request: httpx.Request) -> None:
        lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
        lines += [b"%s: %s" % each for each in request.headers.raw]
        unsent = b"\r\n".join([*lines, b"", b""])
        is_chunked = "transfer-encoding" in request.headers
        async for each in cast("AsyncIterator[bytes]", request.stream):
            if self._lost:
                raise httpx.WriteError("the server closed the connection while the request was sent")
            if self._answered:
                return  # it is refused, and nobody reads the rest
            self._transport.write(unsent + (b"%x\r\n%s\r\n" % (len(each), each) if is_chunked else each))
            unsent = b""
            await self._writable.wait()
        self._transport.write(unsent + (b"0\r\n\r\n" if is_chunked else b""))
        self._is_sent = True

    @property
    def _answered(self) -> bool:
        return self._answer is None or self._answer.done()

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be sent after this answer."""
        return self._keep and self._is_sent and not self._lost

    def is_alive(self) -> bool:
        """Whether the other side has neither closed it nor said anything since the last answer."""
        if self._lost or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close it at once."""
        if not self._lost:
            self._transport.abort()

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._reason = b""
        self._status = 0
        self._keep = False

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            self._keep = False
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as fault:
            self._fail(httpx.RemoteProtocolError(str(fault)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._status and not self._is_framed():
            self.on_message_complete()  # it ends with the connection
        elif exc is None:
            self._fail(httpx.RemoteProtocolError("the server closed the connection before its answer ended"))
        else:
            kind = httpx.ReadError if self._is_sent and self._writable.is_set() else httpx.WriteError
            self._fail(kind(str(exc)))
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _is_framed(self) -> bool:
        named = {name.lower() for name, _ in self._headers}
        return bool(named & {b"content-length", b"transfer-encoding"})

    def _fail(self, fault: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(fault)
            self._answer.exception()  # marks it as seen: a caller that was cancelled awaits it no more

    # --- httptools ---

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        is_stream = (b"content-type", b"text/event-stream") in self._headers
        if (self._without_body or is_stream) and self._status >= 200:
            self._done()
            self._keep = self._keep and not is_stream

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if 100 <= self._status < 200:
            self._reset()
        else:
            self._done()

    def _done(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._keep = self._parser.should_keep_alive()
            self._answer.set_result(None)
