"""Bodies that an application moves between socket and file itself; clients stop, leave and pipeline."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from lapel.foundation.core.asgi import CONNECTION, InThread, Receive, Scope, Send
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen

LIMITS = HttpLimits(header_timeout=5, body_timeout=0.4, header_limit=8192, request_id=lambda: "req_test")
PATIENCE = 20.0
CONTENT = os.urandom(3 << 20)
GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"


class App:
    """PUT reads the body directly wherever it can; GET sends `file` so, behind its first 1,000 bytes."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(CONTENT)
        self.file = file.open("rb")
        self.body, self.direct, self.gone = b"", 0, asyncio.Event()
        self.waits = asyncio.Event()
        self.in_thread: InThread = asyncio.to_thread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/next":
            await answer(send, b"next")
        elif scope["method"] == "GET":
            await self._get(scope, send)
        else:
            await self._put(scope, receive, send)

    async def _put(self, scope: Scope, receive: Receive, send: Send) -> None:
        buffer, more = memoryview(bytearray(1 << 16)), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            self.body += message["body"]
            more = message["more_body"]
            while got := await scope[CONNECTION].direct().receive_into(buffer, self.in_thread):
                self.body += buffer[:got]
                self.direct += got
            self.waits.set()
        await answer(send, b"%d" % len(self.body))

    async def _get(self, scope: Scope, send: Send) -> None:
        size, at = os.fstat(self.file.fileno()).st_size, 0
        await start(send, size)
        while at < size and not scope[CONNECTION].is_gone(scope):
            piece = os.pread(self.file.fileno(), 1000, at)
            at += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0.001)
            sent = await scope[CONNECTION].direct().send_file(self.file.fileno(), at, size, self.in_thread)
            at += sent
            self.direct += sent
        await send({"type": "http.response.body", "body": b""})
        if scope[CONNECTION].is_gone(scope):
            self.gone.set()


async def start(send: Send, length: int) -> None:
    head = [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": head})


async def answer(send: Send, body: bytes) -> None:
    await start(send, len(body))
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(file: Path, tls: tuple[Path, Path] | None = None) -> AsyncIterator[tuple[App, int]]:
    app, stop, ready = App(file), asyncio.Event(), asyncio.Event()
    sockets = listen("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    task = asyncio.create_task(serve(app, sockets, LIMITS, stop, ready=ready.set, tls=tls, drain=0.5))
    await asyncio.wait_for(ready.wait(), PATIENCE)
    try:
        yield app, port
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)
        app.file.close()


@asynccontextmanager
async def talking(
    port: int, trust: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    name = "localhost" if trust else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def put(content: bytes, framing: str = f"content-length: {len(CONTENT)}") -> bytes:
    return f"PUT / HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\n".encode() + content


async def all_of(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), PATIENCE)


async def test_a_body_is_read_directly_and_the_next_request_behind_it_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port), talking(port) as (reader, writer):
        writer.write(put(CONTENT) + NEXT)
        answers = await all_of(reader)
        assert app.body == CONTENT
        assert app.direct > len(CONTENT) // 2
        assert answers.endswith(b"next")
        assert answers.count(b"HTTP/1.1 200") == 2


async def test_a_chunked_body_goes_through_the_parser(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port), talking(port) as (reader, writer):
        chunk = b"%x\r\n" % len(CONTENT) + CONTENT + b"\r\n0\r\n\r\n"
        writer.write(put(chunk, "transfer-encoding: chunked") + NEXT)
        assert (await all_of(reader)).endswith(b"next")
        assert app.body == CONTENT
        assert not app.direct


async def test_what_follows_a_short_chunk_is_not_read_directly(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port), talking(port) as (reader, writer):

        async def count(_: Callable[[], int]) -> int:
            app.direct += 1
            return 0

        app.in_thread = count
        writer.write(put(b"5\r\nshort\r\n", "transfer-encoding: chunked"))
        await asyncio.wait_for(app.waits.wait(), PATIENCE)
        writer.write(b"0\r\n\r\n" + NEXT)
        assert (await all_of(reader)).endswith(b"next")
        assert app.body == b"short"
        assert not app.direct


async def test_over_tls_no_byte_passes_by_the_encryption(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    async with serving(tmp_path / "file", tls=certificate) as (app, port), talking(port, trust) as both:
        reader, writer = both
        os.truncate(tmp_path / "file", 50_000)
        writer.write(put(CONTENT) + GET + NEXT)
        answers = await all_of(reader)
        assert app.body == CONTENT
        assert answers.count(CONTENT[:50_000]) == 1
        assert answers.endswith(b"next")
        assert not app.direct


async def test_a_client_that_leaves_within_a_body_is_noticed(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port):
        async with talking(port) as (_, writer):
            writer.write(put(CONTENT[:-1]))
            await writer.drain()
            await asyncio.wait_for(app.waits.wait(), PATIENCE)
        await asyncio.wait_for(app.gone.wait(), PATIENCE)


async def test_a_client_that_stops_within_a_body_gets_408(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port), talking(port) as (reader, writer):
        writer.write(put(CONTENT[: 2 << 20]))
        assert (await all_of(reader)).startswith(b"HTTP/1.1 408")
        assert app.gone.is_set()


async def test_a_file_is_sent_directly_and_the_next_request_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port), talking(port) as (reader, writer):
        writer.write(GET + NEXT)
        head, _, rest = (await all_of(reader)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert rest[: len(CONTENT)] == CONTENT
        assert rest.endswith(b"next")
        assert app.direct > len(CONTENT) // 2


async def test_a_client_that_reads_no_more_is_ended(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port):
        os.truncate(tmp_path / "file", 64 << 20)  # more than the buffers of two sockets hold
        loop, got = asyncio.get_running_loop(), 0
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, GET)
            await asyncio.wait_for(app.gone.wait(), PATIENCE)
            with suppress(ConnectionResetError):
                while piece := await asyncio.wait_for(loop.sock_recv(client, 1 << 20), PATIENCE):
                    got += len(piece)
        assert got < 64 << 20


async def test_a_client_that_leaves_within_a_file_ends_the_answer(tmp_path: Path) -> None:
    async with serving(tmp_path / "file") as (app, port):
        os.truncate(tmp_path / "file", 64 << 20)
        async with talking(port) as (reader, writer):
            writer.write(GET)
            await reader.readexactly(1 << 20)
        await asyncio.wait_for(app.gone.wait(), PATIENCE)
