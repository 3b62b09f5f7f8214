"""Streams over real sockets: how many there may be, and how each one ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest

from lapel.foundation.core.errors import InvalidRequest, Unavailable
from lapel.foundation.http.authorization import Access
from lapel.foundation.http.calls import NoBody, NoQuery, StreamCall
from lapel.foundation.http.routes import Routes
from lapel.foundation.http.strategies.stream_sending import Streams
from lapel.foundation.ports import Ports
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen
from tests.support.api import api_of
from tests.support.tenants import Tenant, make_key

PIECE = b"data: %b\n\n" % (b"x" * 50_000)


class Ticks:
    """A stream that sends what tests put into its line."""

    def __init__(self) -> None:
        self.line: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.refusal: Exception | None = None
        self.made = 0
        self.open = 0

    async def __call__(self, _call: StreamCall[NoQuery, NoBody]) -> AsyncGenerator[bytes]:
        """The handler."""
        if self.refusal is not None:
            raise self.refusal
        self.open += 1
        try:
            yield b": begun\n\n"
            while True:
                piece = await self.line.get()
                if isinstance(piece, Exception):
                    raise piece
                self.made += 1
                yield piece
        finally:
            self.open -= 1


@asynccontextmanager
async def served(
    ports: Ports, ticks: Ticks, streams: Streams | None = None, body_timeout: float = 60
) -> AsyncGenerator[tuple[int, asyncio.Event]]:
    """The port of a server of the stream, and the event that stops the server."""
    access = Access("webhooks:read", end_user_keys="filter")
    route = Routes("Ticks", read=access, write=access).get("/v1/ticks", "ticks")
    api = api_of(ports, [route.stream("Ticks", ticks)], body_limit=1000)
    if streams is not None:
        api._streams = streams
    sockets = listen("127.0.0.1", 0)
    stop, ready = asyncio.Event(), asyncio.Event()
    limits = HttpLimits(60, body_timeout, 1 << 16, lambda: "req")
    serving = asyncio.create_task(serve(api, sockets, limits, stop, ready=ready.set, drain=30))
    port: int = sockets[0].getsockname()[1]
    await ready.wait()
    try:
        yield port, stop
    finally:
        stop.set()
        await serving


async def ask(
    port: int, tenant: Tenant, method: str = "GET", key: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    head = f"{method} /v1/ticks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key or tenant.test_key}\r\n\r\n"
    writer.write(head.encode())
    return reader, writer


async def until(reader: asyncio.StreamReader, text: bytes) -> bytes:
    return await reader.readuntil(text)


async def closed(ticks: Ticks) -> None:
    while ticks.open:  # noqa: ASYNC110 - the handler's own count
        await asyncio.sleep(0.005)


async def test_pieces_come_at_once_and_a_client_that_leaves_ends_the_stream(
    ports: Ports, tenant: Tenant
) -> None:
    ticks = Ticks()
    async with served(ports, ticks) as (port, _):
        reader, writer = await ask(port, tenant)
        head = await until(reader, b": begun\n\n")
        assert b"transfer-encoding: chunked" in head.lower()
        assert b"content-type: text/event-stream" in head
        ticks.line.put_nowait(b"data: 1\n\n")
        await until(reader, b"data: 1\n\n")
        assert ticks.open == 1
        writer.close()
        await closed(ticks)


async def test_a_server_that_stops_ends_streams_at_once(ports: Ports, tenant: Tenant) -> None:
    ticks = Ticks()
    async with served(ports, ticks) as (port, stop):
        reader, writer = await ask(port, tenant)
        await until(reader, b": begun\n\n")
        stop.set()
        # The server would let other requests run for half a minute.
        assert (await reader.read(-1)).endswith(b"\r\n0\r\n\r\n"), "the answer has its end"
        assert ticks.open == 0
        writer.close()


async def test_head_ends_at_once(ports: Ports, tenant: Tenant) -> None:
    ticks = Ticks()
    async with served(ports, ticks) as (port, _):
        reader, writer = await ask(port, tenant, "HEAD")
        assert b" 200 " in await until(reader, b"\r\n\r\n")
        await closed(ticks)
        writer.close()


@pytest.mark.parametrize(
    ("error", "status"), [(InvalidRequest("No."), b"400"), (Unavailable("Later."), b"503")]
)
async def test_an_error_before_the_first_piece_is_answered(
    ports: Ports, tenant: Tenant, error: Exception, status: bytes
) -> None:
    ticks = Ticks()
    ticks.refusal = error
    async with served(ports, ticks) as (port, _):
        reader, writer = await ask(port, tenant)
        assert b" %b " % status in await until(reader, b"\r\n\r\n")
        writer.close()


async def test_an_error_later_breaks_the_stream_off(ports: Ports, tenant: Tenant) -> None:
    ticks = Ticks()
    async with served(ports, ticks) as (port, _):
        reader, writer = await ask(port, tenant)
        await until(reader, b": begun\n\n")
        ticks.line.put_nowait(Unavailable("The database is away."))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await until(reader, b"0\r\n\r\n")
        writer.close()


async def test_each_world_and_the_process_have_so_many_streams(
    ports: Ports, tenant: Tenant, stranger: Tenant
) -> None:
    ticks = Ticks()
    async with served(ports, ticks, Streams(total=4, of_one_world=2)) as (port, _):
        clients = [await ask(port, each) for each in (tenant, tenant, stranger)]
        for reader, _ in clients:
            await until(reader, b": begun\n\n")
        for one, status in ((tenant, b"429"), (stranger, b"503")):
            reader, writer = await ask(port, one)
            head = await until(reader, b"\r\n\r\n")
            assert b" %b " % status in head
            assert b"retry-after: 5" in head.lower()
            writer.close()
        clients.pop(0)[1].close()
        while ticks.open == 3:  # noqa: ASYNC110 - the handler's own count
            await asyncio.sleep(0.005)
        clients.append(await ask(port, tenant))
        await until(clients[-1][0], b": begun\n\n")
        for _, writer in clients:
            writer.close()


async def test_one_end_user_does_not_take_the_worlds_streams(
    ports: Ports, tenant: Tenant, client: httpx.AsyncClient
) -> None:
    keys: list[str] = []
    for _ in range(2):
        made = await client.post("/v1/end-users", headers=tenant.headers)
        scoped = {"scopes": ("webhooks:read",), "end_user_id": made.json()["id"]}
        keys.append(await make_key(ports, tenant.test_world, "rk_test", **scoped))
    async with served(ports, Ticks(), Streams(of_one_end_user=2)) as (port, _):
        clients = [await ask(port, tenant, key=key) for key in (keys[0], keys[0], keys[1], "")]
        for reader, _ in clients:
            await until(reader, b": begun\n\n")
        reader, writer = await ask(port, tenant, key=keys[0])
        head = await until(reader, b"\r\n\r\n")
        assert b" 429 " in head
        assert b"retry-after: 5" in head.lower()
        assert b"An end user may have 2 streams" in await until(reader, b"}}")
        writer.close()
        for _, writer in clients:
            writer.close()


async def test_a_world_takes_half_of_what_the_others_leave(
    ports: Ports, tenant: Tenant, stranger: Tenant
) -> None:
    async with served(ports, Ticks(), Streams(total=4, of_one_world=4)) as (port, _):
        clients = [await ask(port, each) for each in (tenant, tenant)]
        for reader, _ in clients:
            await until(reader, b": begun\n\n")
        reader, writer = await ask(port, tenant)
        assert b" 503 " in await until(reader, b"\r\n\r\n")
        writer.close()
        clients.append(await ask(port, stranger))
        await until(clients[-1][0], b": begun\n\n")
        for _, writer in clients:
            writer.close()


async def test_a_client_that_does_not_read_is_disconnected_and_costs_a_few_pieces(
    ports: Ports, tenant: Tenant
) -> None:
    ticks = Ticks()
    for _ in range(2000):
        ticks.line.put_nowait(PIECE)
    async with served(ports, ticks, body_timeout=0.4) as (port, _):
        reader, writer = await ask(port, tenant)
        await until(reader, b": begun\n\n")
        await closed(ticks)
        # The system's buffers on loopback hold a few MiB; the server holds one piece more.
        assert ticks.made * len(PIECE) < 20 << 20
        writer.close()
