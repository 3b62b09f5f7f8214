"""Clients that send requests before they have read the answers to earlier ones, over raw sockets."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator

import pytest

from lapel.hosting.connections.connection_limits import PIECE, GuardedProtocol
from tests.hosting.test_listener import PATIENCE, Served, answer_of, serving

SLOW = b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as it:
        yield it


def posted(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%s" % (size, b"x" * size)


async def test_many_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    sizes = [number * 7 % 9001 for number in range(300)]
    reader, writer = await served.connect()
    writer.write(b"".join(posted(size) for size in sizes) + CLOSE)
    answers = re.findall(rb"\r\n\r\n(\d+)", await answer_of(reader, writer))
    assert [int(each) for each in answers] == [*sizes, 0]


async def test_a_chunked_body_behind_waiting_requests_is_complete(served: Served) -> None:
    chunks = b"".join(b"1000\r\n%s\r\n" % (b"x" * 4096) for _ in range(40)) + b"0\r\n\r\n"
    reader, writer = await served.connect()
    writer.write(SLOW)
    await asyncio.wait_for(served.app.waiting.wait(), PATIENCE)
    writer.write(
        posted(5) + b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + CLOSE
    )
    served.app.gate.set()
    answers = re.findall(rb"\r\n\r\n(\d+)", await answer_of(reader, writer))
    assert answers == [b"0", b"5", b"163840", b"0"]


async def test_few_requests_are_parsed_before_their_turn(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parsed request occupies a hundred times its bytes."""
    parsed = 0
    complete = GuardedProtocol.on_headers_complete

    def counted(protocol: GuardedProtocol) -> None:
        nonlocal parsed
        parsed += 1
        complete(protocol)

    monkeypatch.setattr(GuardedProtocol, "on_headers_complete", counted)
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.setblocking(False)
        client.sendall(SLOW)
        await asyncio.wait_for(served.app.waiting.wait(), PATIENCE)
        request = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
        requests = request * 10_000
        sent, full = 0, 0
        while full < 20:  # the kernel's buffers are full and stay so
            try:
                sent += client.send(requests[sent:] or requests)
                full = 0
            except BlockingIOError:
                full += 1
                await asyncio.sleep(0.01)
        served.app.gate.set()
        assert sent > 20 * PIECE
        assert parsed <= 2 + PIECE // len(request)


async def test_who_pipelines_and_never_reads_leaves_no_traceback(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), socket.create_connection(("127.0.0.1", served.port)) as client:
        client.setblocking(False)
        client.sendall(b"GET /big HTTP/1.1\r\nhost: h\r\n\r\n" * 3)
        gone = served.app.ended  # set when the answer was sent, or when nobody is there to send it to
        await asyncio.wait_for(gone.wait(), PATIENCE)
    assert [record.getMessage() for record in caplog.records] == []
