"""Bodies in chunks: trailers, lines without end, and chunks of one byte."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.hosting.test_listener import CLOSE, Served, serving, status


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as it:
        yield it


async def test_trailers_do_not_become_headers(served: Served) -> None:
    head = b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await served.talk(head + b"1\r\nz\r\n0\r\nauthorization: Bearer x\r\n\r\n", CLOSE)
    assert re.findall(rb"\r\n\r\n(\d)", answer) == [b"1", b"0"]
    assert all(name != b"authorization" for name, _ in served.app.scopes[0]["headers"])


@pytest.mark.parametrize(
    "endless",
    [b"1\r\nz\r\n0\r\nx-t: ", b"1\r\nz\r\n0\r\n", b"1\r\nz\r\n1;"],
    ids=["value", "name", "extension"],
)
async def test_what_is_between_the_bytes_of_a_body_has_a_limit(served: Served, endless: bytes) -> None:
    """The parser keeps an unfinished trailer, and copies it with each piece that comes."""
    head = b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await served.talk(head + endless + b"t" * 16384)
    assert (status(answer), b"req_test" in answer) == (431, True)


async def test_many_small_chunks_are_one_body(served: Served) -> None:
    """Their lines are longer than all headers may be."""
    head = b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await served.talk(head, b"1;e=f\r\nz\r\n" * 3000, b"0\r\n\r\n", CLOSE)
    assert re.findall(rb"\r\n\r\n(\d+)", answer) == [b"3000", b"0"]


async def test_small_chunks_are_parsed_some_at_a_time(served: Served) -> None:
    """All of them arrive at once; between any two parts others have their turn."""
    head = b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await served.talk(head + b"1\r\nz\r\n" * 40_000 + b"0\r\n\r\n" + CLOSE)
    assert re.findall(rb"\r\n\r\n(\d+)", answer) == [b"40000", b"0"]
    assert 0 < served.app.largest < 4000


async def test_nothing_behind_the_last_request_is_taken_for_one(served: Served) -> None:
    """The server has read further than it has parsed when its answer ends the connection."""
    head = b"PUT /deaf HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await served.talk(head + b"1\r\nz\r\n" * 5000 + b"0\r\n\r\n" + CLOSE * 3)
    assert (answer.count(b"HTTP/1.1 "), [each["path"] for each in served.app.scopes]) == (1, ["/deaf"])
