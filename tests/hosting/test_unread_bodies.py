"""Answers before the body has arrived: who reads them, and for how long the server reads on."""

from __future__ import annotations

import asyncio
import re
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from lapel.foundation.core.asgi import Receive, Scope, Send
from lapel.hosting.connections.connection_limits import HttpLimits
from tests.hosting.test_listener import CLOSE, LIMITS, PATIENCE, App, Served, answer_of, drip, serving, status
from tests.support.running import Running
from tests.support.tenants import Tenant

PATIENT: HttpLimits = replace(LIMITS, body_timeout=PATIENCE)
LARGE = bytes(24 << 20)  # more than the buffers of two sockets hold


@pytest.fixture
async def patient() -> AsyncIterator[Served]:
    async with serving(PATIENT) as it:
        yield it


def put(size: int, *headers: bytes) -> bytes:
    lines = [b"PUT /deaf HTTP/1.1", b"host: h", b"content-length: %d" % size, *headers, b"", b""]
    return b"\r\n".join(lines)


async def sent_whole(served: Served, head: bytes, body: bytes) -> bytes:
    """Sends everything before it reads; a broken connection is an error."""
    reader, writer = await served.connect()
    writer.write(head)
    writer.write(body)
    await asyncio.wait_for(writer.drain(), PATIENCE)
    return await answer_of(reader, writer)


async def test_a_client_that_sends_first_reads_an_answer_that_ends_the_connection(patient: Served) -> None:
    answer = await sent_whole(patient, put(len(LARGE), b"connection: close"), LARGE)
    assert (status(answer), b"connection: close" in answer) == (200, True)


async def test_a_connection_goes_on_after_a_body_that_nobody_read(patient: Served) -> None:
    answer = await sent_whole(patient, put(100_000), bytes(100_000) + CLOSE)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200"]


async def test_the_end_of_the_answer_is_seen_before_the_body_is_sent(patient: Served) -> None:
    reader, writer = await patient.connect()
    writer.write(put(5, b"connection: close"))
    assert status(await answer_of(reader, writer)) == 200


@pytest.mark.parametrize("more", [b"connection: close", b"x-keep: alive"], ids=["close", "keep"])
async def test_who_drips_after_the_answer_is_hung_up_on(more: bytes) -> None:
    async with serving() as served:
        assert status(await drip(served, put(99_999_999, more), b"d" * 5000)) == 200


async def pour(writer: asyncio.StreamWriter, piece: bytes) -> int:
    """Sends the piece again and again until the server hangs up; gives the number of bytes."""
    sent = 0
    try:
        while True:
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), PATIENCE)
            sent += len(piece)
    except ConnectionError:
        return sent


async def test_a_body_without_end_is_not_dropped_for_ever(patient: Served) -> None:
    """Each client has much time for its body, and sends it fast."""
    chunks = b"PUT /deaf HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    for head, piece in ((put(1 << 40), bytes(1 << 20)), (chunks, b"fffff\r\n%s\r\n" % bytes(0xFFFFF))):
        reader, writer = await patient.connect()
        writer.write(head)
        assert b"connection: close" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert await pour(writer, piece) > len(LARGE)


@pytest.mark.parametrize("more", [b"connection: close", b"x-keep: alive"], ids=["close", "keep"])
async def test_a_server_that_stops_waits_for_no_body_that_is_answered(more: bytes) -> None:
    """The server would wait for the client until the end of the drain, which is longer than the test."""
    async with serving(PATIENT, drain=10 * PATIENCE) as served:
        reader, writer = await served.connect()
        writer.write(put(99_999_999, more) + bytes(100))
        assert status(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)) == 200
        served.stop.set()
        await asyncio.wait_for(served.task, PATIENCE)
        writer.transport.abort()


class Gated(App):
    """Answers without the body, and only when the gate is open."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.called.set()
            await self.gate.wait()
        await super().__call__(scope, receive, send)


async def test_nor_for_one_that_is_answered_while_it_stops() -> None:
    async with serving(PATIENT, app=Gated(), drain=10 * PATIENCE) as served:
        _, writer = await served.connect()
        writer.write(put(99_999_999, b"connection: close") + bytes(100))
        await asyncio.wait_for(served.app.called.wait(), PATIENCE)
        served.stop.set()
        served.app.gate.set()
        await asyncio.wait_for(served.task, PATIENCE)
        writer.transport.abort()


@pytest.mark.parametrize("size", [5, 1 << 40], ids=["short", "long"])
async def test_who_waits_for_100_is_answered_without_it(patient: Served, size: int) -> None:
    reader, writer = await patient.connect()
    writer.write(put(size, b"expect: 100-continue"))
    answer = await answer_of(reader, writer)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


async def test_a_request_behind_a_refused_body_is_not_taken_for_one(patient: Served) -> None:
    """The client expected 100, got the answer, and sends its next request in place of the body."""
    reader, writer = await patient.connect()
    writer.write(put(5, b"expect: 100-continue"))
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    writer.write(CLOSE * 2)
    await answer_of(reader, writer)
    assert [each["path"] for each in patient.app.scopes] == ["/deaf"]


def by_urllib(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(
        url, body, {"Content-Type": "application/json", **headers}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=PATIENCE)
    with refused.value as answer:
        assert b'"request_id"' in answer.read()
    return refused.value.code


async def test_urllib_reads_why_the_api_refuses_a_large_body(live: Running, tenant: Tenant) -> None:
    async def post(**headers: str) -> int:
        return await asyncio.to_thread(by_urllib, f"{live.url}/v1/end-users", LARGE, headers)

    assert await post() == 401
    assert await post(**tenant.headers) == 413


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_a_raw_client_reads_it_too(live: Running, tenant: Tenant, chunked: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(LARGE)
    head = b"\r\n".join(
        (
            b"POST /v1/end-users HTTP/1.1",
            b"Host: h",
            b"Connection: close",
            b"Authorization: " + tenant.headers["Authorization"].encode(),
            b"Content-Type: text/plain",
            framing,
            b"\r\n",
        )
    )

    def talk() -> bytes:
        port = int(live.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(head)
            connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(LARGE), LARGE) if chunked else LARGE)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert status(await asyncio.to_thread(talk)) == 413
