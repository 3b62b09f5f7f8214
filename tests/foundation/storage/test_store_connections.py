"""Connections to the store: when one is used again, and what an answer may not be."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
import uvloop

from lapel.foundation.storage.errors import StoreUnavailable
from lapel.foundation.storage.store_connections import StoreConnections
from tests.support.patience import LONG
from tests.support.receivers import certificate_for

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: Value\r\n\r\nok"


@asynccontextmanager
async def store(serve: Serve, trust: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """The origin of a server that treats each connection with `serve`, which also gets its number."""
    count = 0
    ended: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        ended.append(writer)
        try:
            await serve(reader, writer, count)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", ssl=trust)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'http' if trust is None else 'https'}://localhost:{port}"
    finally:
        server.close()
        for each in ended:
            each.transport.abort()
        await server.wait_closed()


def saying(*answers: bytes) -> Serve:
    """Each connection gives these answers, one a request, and then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


async def ask(connections: StoreConnections, method: str = "PUT", seconds: float = LONG) -> tuple[int, bytes]:
    answer = await connections.send(method, "/lapel/a", {"host": "localhost"}, seconds=seconds)
    return answer.status, answer.body


async def test_requests_one_after_the_other_use_one_connection() -> None:
    seen: list[tuple[int, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            seen.append((number, await reader.readuntil(b"\r\n\r\n")))
            writer.write(OK if seen[-1][1].startswith(b"PUT") else OK.removesuffix(b"ok"))

    async with store(serve) as origin:
        connections = StoreConnections(origin)
        answer = await connections.send("PUT", "/lapel/a", {"host": "x", "x-a": "b"}, seconds=LONG)
        assert answer == (200, {"content-length": "2", "x-name": "Value"}, b"ok")
        assert await ask(connections, "HEAD") == (200, b"")
        assert await ask(connections) == (200, b"ok")
        await connections.close()
    assert [number for number, _ in seen] == [1, 1, 1]
    assert seen[0][1] == b"PUT /lapel/a HTTP/1.1\r\nhost: x\r\nx-a: b\r\ncontent-length: 0\r\n\r\n"
    assert b"content-length" not in seen[1][1]


async def test_requests_at_the_same_time_have_a_connection_each() -> None:
    together = asyncio.Barrier(3)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await together.wait()
        writer.write(OK)

    async with store(serve) as origin:
        connections = StoreConnections(origin)
        assert await asyncio.gather(*(ask(connections) for _ in range(3))) == [(200, b"ok")] * 3
        await connections.close()


async def test_a_connection_that_the_store_closes_while_it_is_unused_is_replaced() -> None:
    async with store(saying(OK)) as origin:
        connections = StoreConnections(origin)
        for _ in range(3):
            assert await ask(connections) == (200, b"ok")
            await asyncio.sleep(0.02)
        await connections.close()


async def test_a_connection_that_the_store_closes_with_the_request_is_replaced() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        if number == 1:
            return
        writer.write(OK)

    async with store(serve) as origin:
        connections = StoreConnections(origin)
        assert await ask(connections) == (200, b"ok")
        assert await ask(connections) == (200, b"ok")
        await connections.close()


async def test_an_answer_that_ends_the_connection_is_complete() -> None:
    async with store(saying(OK.replace(b"X-Name: Value", b"Connection: close"))) as origin:
        connections = StoreConnections(origin)
        assert await ask(connections) == (200, b"ok")
        assert await ask(connections) == (200, b"ok")


async def test_what_comes_before_the_answer_is_passed_over() -> None:
    async with store(saying(b"HTTP/1.1 102 Processing\r\nX-Other: 1\r\n\r\n" + OK)) as origin:
        answer = await StoreConnections(origin).send("PUT", "/a", {"host": "localhost"}, seconds=LONG)
    assert answer == (200, {"content-length": "2", "x-name": "Value"}, b"ok")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        OK[:-1],
        b"220 ready\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000),
        b"HTTP/1.1 200 OK\r\n" + b"X-Name: Value\r\n" * 20_000,
    ],
    ids=["nothing", "half a head", "half a body", "no HTTP", "two lengths", "a large body", "a large head"],
)
async def test_what_is_no_small_complete_answer_is_an_error(said: bytes) -> None:
    async with store(saying(said)) as origin:
        with pytest.raises(StoreUnavailable):
            await ask(StoreConnections(origin))


async def test_a_body_after_a_head_is_not_taken_for_the_next_answer() -> None:
    async with store(saying(OK + OK, OK.replace(b"200", b"201"))) as origin:
        connections = StoreConnections(origin)
        assert await ask(connections, "HEAD") == (200, b"")
        assert await ask(connections) == (200, b"ok")


async def test_a_store_that_speaks_without_being_asked_loses_its_connection() -> None:
    spoken = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        if number == 1:
            await asyncio.sleep(0.02)
            writer.write(OK.replace(b"200", b"500"))
            await reader.read()
            spoken.set()

    async with store(serve) as origin:
        connections = StoreConnections(origin)
        assert await ask(connections) == (200, b"ok")
        await spoken.wait()
        assert await ask(connections) == (200, b"ok")


async def test_who_waits_too_long_or_is_cancelled_leaves_no_connection_behind() -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        if number > 2:
            writer.write(OK)
        await reader.read()

    async with store(serve) as origin:
        connections = StoreConnections(origin)
        assert await ask(connections) == (200, b"ok")
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await ask(connections, seconds=0.05)
        assert await ask(connections) == (200, b"ok")
        asked.clear()
        asking = asyncio.create_task(ask(connections))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [await ask(connections), await ask(connections)] == [(200, b"ok")] * 2


async def test_who_is_cancelled_as_the_answer_arrives_leaves_no_connection_behind() -> None:
    """The answer and the cancellation come in one turn of the event loop."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()
        gone.set()

    async with store(serve) as origin:
        connections = StoreConnections(origin)
        connection = await connections._connect()
        asking = asyncio.create_task(
            connections._exchange(connection, b"PUT / HTTP/1.1\r\n\r\n", without_body=False)
        )
        arrived = connection.data_received

        def cancelled_then(data: bytes) -> None:
            arrived(data)
            asking.cancel()

        connection.data_received = cancelled_then
        with pytest.raises(asyncio.CancelledError):
            await asking
        await gone.wait()


async def test_a_second_answer_is_not_taken_for_the_next_one() -> None:
    async with store(saying(OK + OK.replace(b"200", b"500"), OK.replace(b"200", b"201"))) as origin:
        connections = StoreConnections(origin)
        assert await ask(connections) == (200, b"ok")
        assert await ask(connections) == (200, b"ok")


async def test_a_connection_in_use_is_closed_after_its_request_when_all_are_closed() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()
    answer = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(OK)
        await reader.read()
        gone.set()

    async with store(serve) as origin:
        connections = StoreConnections(origin)
        asking = asyncio.create_task(ask(connections))
        await asked.wait()
        await connections.close()
        answer.set()
        assert await asking == (200, b"ok")
        await gone.wait()


@pytest.mark.parametrize(
    "pieces",
    [
        [OK],
        [OK[:20], OK[20:]],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\no\r\n1\r\nk\r\n", b"0\r\n\r\n"],
    ],
)
async def test_an_answer_may_come_in_pieces(pieces: list[bytes]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with store(serve) as origin:
        assert await ask(StoreConnections(origin)) == (200, b"ok")


async def test_no_store_is_an_error() -> None:
    with pytest.raises(StoreUnavailable):
        await ask(StoreConnections("http://127.0.0.1:1"))


async def test_https_trusts_only_known_authorities(tmp_path: Path) -> None:
    server, client = certificate_for("localhost", tmp_path)
    async with store(saying(OK), server) as origin:
        assert await ask(StoreConnections(origin, client)) == (200, b"ok")
        with pytest.raises(StoreUnavailable, match="certificate"):
            await ask(StoreConnections(origin))


async def test_it_works_on_the_event_loop_of_servers() -> None:
    async def twice() -> list[tuple[int, bytes]]:
        async with store(saying(OK, OK)) as origin:
            connections = StoreConnections(origin)
            answers = [await ask(connections), await ask(connections)]
            await connections.close()
            return answers

    assert await asyncio.to_thread(uvloop.run, twice()) == [(200, b"ok")] * 2
