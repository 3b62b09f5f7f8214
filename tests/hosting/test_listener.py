"""The guarded server against clients that dawdle, flood, lie and stop reading, over raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lapel.foundation.core.asgi import Receive, Scope, Send
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen

LIMITS = HttpLimits(header_timeout=0.4, body_timeout=0.4, header_limit=8192, request_id=lambda: "req_test")
PATIENCE = 20.0  # how long a test waits for what must happen


class App:
    """Reads the body and answers with its length; `/big` answers much, `/deaf` never reads, `/slow` waits."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.scopes: list[Scope] = []
        self.called, self.waiting, self.gate = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.ended = asyncio.Event()
        self.largest = 0  # bytes of one piece of a body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        self.scopes.append(scope)
        self.called.set()
        size, more = 0, scope["path"] != "/deaf"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.events.append("disconnect")
                return
            size += len(message["body"])
            self.largest = max(self.largest, len(message["body"]))
            more = message["more_body"]
        if scope["path"] == "/slow":
            self.waiting.set()
            await self.gate.wait()
        body = b"x" * (64 << 20) if scope["path"] == "/big" else str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for start in range(0, len(body), 1 << 20):
            more = start + (1 << 20) < len(body)
            await send(
                {"type": "http.response.body", "body": body[start : start + (1 << 20)], "more_body": more}
            )
        self.ended.set()


class Served:
    def __init__(self, app: App, port: int, stop: asyncio.Event, task: asyncio.Task[None]) -> None:
        self.app, self.port, self.stop, self.task = app, port, stop, task

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    async def talk(self, *pieces: bytes) -> bytes:
        """Sends the pieces and gives all that comes back until the server hangs up."""
        reader, writer = await self.connect()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        return await answer_of(reader, writer)


async def answer_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    answer = b""
    try:
        while piece := await asyncio.wait_for(reader.read(65536), PATIENCE):
            answer += piece
    except ConnectionResetError:
        pass
    writer.transport.abort()
    return answer


@asynccontextmanager
async def serving(
    limits: HttpLimits = LIMITS,
    tls: tuple[Path, Path] | None = None,
    app: App | None = None,
    drain: float = 0.5,
) -> AsyncIterator[Served]:
    app, stop, ready = app or App(), asyncio.Event(), asyncio.Event()
    sockets = listen("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    task = asyncio.create_task(serve(app, sockets, limits, stop, ready=ready.set, tls=tls, drain=drain))
    await asyncio.wait_for(ready.wait(), PATIENCE)
    try:
        yield Served(app, port, stop, task)
    finally:
        stop.set()
        app.gate.set()
        await asyncio.wait_for(task, PATIENCE)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as it:
        yield it


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"


async def test_ordinary_requests_are_answered_and_the_connection_is_kept(served: Served) -> None:
    answer = await served.talk(GET, b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc", CLOSE)
    assert re.findall(rb"\r\n\r\n(\d)", answer) == [b"0", b"3", b"0"]
    assert b"server:" not in answer.lower()


async def test_a_clients_address_is_the_connections_whatever_the_environment_trusts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only LAPEL_TRUSTED_PROXIES says whom to believe, and only ClientAddresses reads the header."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    async with serving() as served:
        head = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-forwarded-for: 203.0.113.9\r\n\r\n"
        assert status(await served.talk(head)) == 200
        client = served.app.scopes[0]["client"]
        assert client is not None
        assert client[0] == "127.0.0.1"


async def test_who_sends_nothing_is_hung_up_on(served: Served) -> None:
    assert await served.talk() == b""


async def test_headers_that_stop_half_way_are_408(served: Served) -> None:
    answer = await served.talk(b"GET / HTTP/1.1\r\nhos")
    assert status(answer) == 408
    error = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
    assert error["request_id"] == "req_test"
    assert error["code"] == "invalid_request"


async def drip(served: Served, head: bytes, piece: bytes) -> bytes:
    """Sends `head`, then `piece` again and again as slowly as an attacker, until hung up on."""
    reader, writer = await served.connect()
    writer.write(head)

    async def send() -> None:
        while True:
            await asyncio.sleep(0.02)
            writer.write(piece)
            await writer.drain()

    sending = asyncio.create_task(send())
    answer = await answer_of(reader, writer)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    return answer


async def test_headers_byte_by_byte_are_408(served: Served) -> None:
    assert status(await drip(served, b"GET / HTTP/1.1\r\n", b"a")) == 408


async def test_blank_lines_do_not_keep_a_connection_alive(served: Served) -> None:
    assert status(await drip(served, GET, b"\r\n")) == 200  # and then it was closed


async def test_a_body_byte_by_byte_is_408_and_the_application_hears_of_it(served: Served) -> None:
    answer = await drip(served, b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n", b"b")
    assert status(answer) == 408
    assert served.app.events == ["disconnect"]


async def test_chunk_extensions_without_end_are_no_progress(served: Served) -> None:
    answer = await drip(
        served, b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1;", b"e" * 200
    )
    assert status(answer) == 408


async def test_a_body_that_never_comes_is_408(served: Served) -> None:
    answer = await served.talk(b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf")
    assert status(answer) == 408


async def test_a_steady_body_may_take_much_longer_than_the_limit(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"PUT / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 81920\r\n\r\n")
    for _ in range(20):
        writer.write(b"c" * 4096)
        await asyncio.sleep(0.1)  # 2 s in all, five times the limit
    assert status(await answer_of(reader, writer)) == 200


async def test_a_body_after_the_answer_is_not_read_for_ever(served: Served) -> None:
    answer = await drip(
        served, b"PUT /deaf HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999\r\n\r\n", b"d" * 5000
    )
    assert status(answer) == 200


async def test_a_slow_application_is_no_fault_of_the_client(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"GET /slow HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    await asyncio.sleep(1.5)
    served.app.gate.set()
    assert status(await answer_of(reader, writer)) == 200


async def test_who_stops_reading_is_hung_up_on(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as deaf:
        deaf.sendall(b"GET /big HTTP/1.1\r\nhost: h\r\n\r\n")
        # Nobody reads: the application can only end because the connection was ended under it.
        await asyncio.wait_for(served.app.ended.wait(), PATIENCE)


async def test_a_slow_but_steady_reader_gets_everything(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"GET /big HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    size = 0
    while piece := await asyncio.wait_for(reader.read(1 << 20), PATIENCE):
        size += len(piece)
        if size < 8 << 20:
            await asyncio.sleep(0.05)
    assert size > 64 << 20
    writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"y" * 2_000_000,
        b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"y" * 9000 + b"\r\n\r\n",
        b"GET /" + b"p" * 9000 + b" HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\n" + b"a: b\r\n" * 300 + b"\r\n",
    ],
    ids=["2 MB", "one large", "long URL", "many"],
)
async def test_too_large_a_head_is_431(served: Served, request_: bytes) -> None:
    reader, writer = await served.connect()
    writer.write(request_)  # all of it is on its way before we read: an answer must still get through
    assert status(await answer_of(reader, writer)) == 431
    assert served.app.scopes == []


@pytest.mark.parametrize(
    "request_",
    [
        b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\nx : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: h\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\n\r\n",
        b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"hello\r\n\r\n",
    ],
)
async def test_what_is_not_clean_http_is_400(served: Served, request_: bytes) -> None:
    answer = await served.talk(request_)
    assert status(answer) == 400
    assert b"req_test" in answer
    assert served.app.scopes == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET /\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nhost: h\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nhost: h\r\n\r\n", 505),
        (b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n", 501),
    ],
)
async def test_what_this_server_does_not_speak_is_said(
    served: Served, request_: bytes, expected: int
) -> None:
    answer = await served.talk(request_)
    assert (status(answer), b"req_test" in answer, served.app.scopes) == (expected, True, [])


async def test_an_upgrade_is_answered_plainly_and_ends_the_connection(served: Served) -> None:
    answer = await served.talk(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
    assert status(answer) == 200
    assert b"connection: close" in answer


async def test_bad_pipelined_requests_do_not_spoil_the_answer_under_way(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
    await asyncio.wait_for(served.app.waiting.wait(), PATIENCE)
    writer.write(b"nonsense\r\n\r\n")
    assert status(await answer_of(reader, writer)) == 400
    served.app.gate.set()


async def test_a_stop_lets_requests_end_and_takes_no_new_ones() -> None:
    async with serving() as served:
        reader, writer = await served.connect()
        writer.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n")
        await asyncio.wait_for(served.app.waiting.wait(), PATIENCE)
        served.stop.set()
        await asyncio.sleep(0.2)
        served.app.gate.set()
        answer = await answer_of(reader, writer)
        assert (status(answer), b"connection: close" in answer) == (200, True)
        await asyncio.wait_for(served.task, PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            await served.connect()


async def test_a_stop_ends_idle_and_endless_connections_too() -> None:
    async with serving() as served:
        idle, half = await served.connect(), await served.connect()
        half[1].write(b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 99\r\n\r\nhalf")
        await half[1].drain()
        await asyncio.wait_for(served.app.called.wait(), PATIENCE)
        served.stop.set()
        await asyncio.wait_for(served.task, PATIENCE)
        for _, writer in (idle, half):
            writer.transport.abort()


async def test_a_connection_that_outlasts_the_drain_is_cut() -> None:
    called, gate, stop, ready = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        called.set()
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    [listener] = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    task = asyncio.create_task(serve(stubborn, [listener], LIMITS, stop, ready=ready.set, drain=0.2))
    await asyncio.wait_for(ready.wait(), PATIENCE)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    await asyncio.wait_for(called.wait(), PATIENCE)
    stop.set()
    await asyncio.wait_for(task, PATIENCE)
    try:
        assert await asyncio.wait_for(answer_of(reader, writer), 2) == b""
    finally:
        gate.set()
        writer.transport.abort()


async def test_tls_is_served_with_the_given_certificate(certificate: tuple[Path, Path]) -> None:
    async with serving(tls=certificate) as served:
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        where = {"host": "localhost", "port": served.port, "family": socket.AF_INET}
        reader, writer = await asyncio.open_connection(**where, ssl=trust)
        writer.write(CLOSE)
        assert status(await answer_of(reader, writer)) == 200
        assert served.app.scopes[0]["scheme"] == "https"
        reader, writer = await asyncio.open_connection(**where, ssl=trust)
        writer.write(b"GET / HTTP/1.1\r\nho")
        assert status(await answer_of(reader, writer)) == 408
