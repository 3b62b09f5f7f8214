"""What the connection refuses, before any application sees it, is logged and counted as every other error."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

import pytest

from lapel.foundation import telemetry
from tests.hosting.test_listener import Served, answer_of, served, serving, status
from tests.support.log_lines import logged_lines

__all__ = ["served"]

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = f"traceparent: 00-{TRACE}-{PARENT}-01\r\nx-request-id: a-1\r\n".encode()
ASKED = b"GET / HTTP/1.1\r\nhost: h\r\n" + TRACED + b"\r\n"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    with logged_lines() as stream:
        yield stream


def logged(lines: io.StringIO) -> list[dict[str, object]]:
    """The lines of refusals: another server of this process may just end a request of an operation."""
    telemetry.flush_log()
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    return [line for line in found if line["event"] == "request" and line["operation"] == "none"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: h\r\nhost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhos", 408),
        (b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhalf", 408),
        (b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nhost: h\r\n\r\n", 505),
    ],
)
async def test_each_refusal_has_its_line_with_the_id_of_its_answer(
    served: Served, lines: io.StringIO, sent: bytes, expected: int
) -> None:
    answer = await served.talk(sent)
    assert status(answer) == expected
    shown = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["request_id"]
    (line,) = logged(lines)
    assert (line["request_id"], line["status"], line["error"]) == (shown, expected, "invalid_request")
    assert (line["operation"], line["method"], line["caller"]) == ("none", "none", "anonymous")
    assert line["level"] == "info", "the client's fault is no warning, whatever the status"
    assert re.search(rb'_seconds_count{operation="none",status="%d"} [1-9]' % expected, counted())


def counted() -> bytes:
    telemetry.ANSWERS.write()
    return telemetry.render_metrics()


async def test_a_line_has_the_ids_of_the_refused_request_and_of_no_earlier_one(lines: io.StringIO) -> None:
    async with serving() as served:
        assert b" 501 " in await served.talk(ASKED[:-2] + b"transfer-encoding: gzip, chunked\r\n\r\n")
        assert b" 400 " in await served.talk(ASKED + ASKED + b"nonsense\r\n\r\n")
        for incomplete in (b"GE", b"\r\n"):
            reader, writer = await served.connect()
            writer.write(ASKED)
            await reader.readuntil(b"\r\n\r\n0")
            writer.write(incomplete)
            assert status(await answer_of(reader, writer)) == 408
    ids = [tuple(map(line.get, ("trace_id", "parent_id", "client_request_id"))) for line in logged(lines)]
    assert ids == [(TRACE, PARENT, "a-1"), *[(None, None, None)] * 3]


async def test_a_connection_that_is_hung_up_on_without_an_answer_has_no_line(
    served: Served, lines: io.StringIO
) -> None:
    assert await served.talk() == b""
    assert logged(lines) == []
