"""Whole bodies and whole answers, compared with those in messages, over raw sockets."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lapel.foundation.core.asgi import CONNECTION, ClientConnection, Receive, Scope, Send
from tests.hosting.test_listener import PATIENCE, App, Served, answer_of, serving

CLOSE = b"GET /end HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
CASES: dict[bytes, tuple[int, list[tuple[bytes, bytes]], bytes]] = {
    b"json": (200, [(b"content-type", b"application/json")], b'{"a":1}'),
    b"none": (204, [], b""),
    b"empty": (200, [(b"x-empty", b"")], b""),
    b"missing": (404, [(b"x-one", b"1"), (b"x-one", b"2")], b"no"),
    b"long": (200, [(b"content-type", b"text/plain")], b"x" * 200_000),
    b"odd": (503, [(b"retry-after", b"2"), (b"x-text", "é".encode())], b"\r\n\r\n"),
}


class Whole(App):
    """Answers `/whole/CASE` in one step if it can, and `/send/CASE` in messages. `/echo` answers the body.

    `/split` has a header with a line break, `/forbidden` a body where none may be, and `/ends` ends the
    connection. `/stay` and `/wait` wait until the client leaves; `/wait` answers then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bool] = []
        self.answers: list[bool] = []
        self.left, self.refused = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: ClientConnection = scope[CONNECTION]
        body = connection.whole_body(scope)
        self.bodies.append(body is not None)
        self.called.set()
        if body is None:
            body = await _collected(receive)
        self.waiting.set()
        _, way, *case = scope["path"].encode().split(b"/")
        if way == b"stay":
            self.events.append((await receive())["type"])
            self.left.set()
            return
        status, headers, content = CASES[case[0]] if case else (200, [], body)
        if way == b"wait":
            await receive()
            assert connection.whole_body(scope) is None
            self.left.set()
        if way == b"forbidden":
            status, content = 204, b"body"
        if way == b"ends":
            headers = [(b"connection", b"close")]
        if way == b"split":
            headers = [(b"x-split", b"1\r\nx-injected: 1")]
        if status != 204:
            headers = [*headers, (b"content-length", b"%d" % len(content))]
        whole = way != b"send" and connection.answer(scope, status, headers, content)
        self.answers.append(whole)
        if not whole:
            self.refused.set()
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": content, "more_body": False})
        assert not connection.answer(scope, 200, [], b""), "one request has one answer"


async def _collected(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        pieces.append(message["body"])
        more = message["more_body"]
    return b"".join(pieces)


@pytest.fixture
async def app() -> Whole:
    return Whole()


@pytest.fixture
async def served(app: Whole) -> AsyncIterator[Served]:
    async with serving(app=app) as it:
        yield it


def asked(path: bytes, method: bytes = b"GET", version: bytes = b"1.1", more: bytes = b"") -> bytes:
    return b"%s /%s HTTP/%s\r\nhost: h\r\n%s\r\n" % (method, path, version, more)


def undated(answer: bytes) -> bytes:
    return re.sub(rb"date: [^\r]*\r\n", b"", answer)


@pytest.mark.parametrize("case", CASES)
async def test_a_whole_answer_has_the_bytes_of_messages(served: Served, app: Whole, case: bytes) -> None:
    whole, sent = [await served.talk(asked(way + case), CLOSE) for way in (b"whole/", b"send/")]
    assert b"date: " in whole
    assert undated(whole) == undated(sent)
    assert app.answers == [True, False, False, False]  # the last request of each ends its connection


@pytest.mark.parametrize(
    "request_",
    [
        asked(b"whole/json", b"HEAD") + CLOSE,
        asked(b"whole/json", version=b"1.0"),
        asked(b"whole/json", version=b"1.0", more=b"connection: keep-alive\r\n") + CLOSE,
        asked(b"whole/json", more=b"connection: close\r\n"),
    ],
)
async def test_unusual_requests_are_answered_in_messages(served: Served, app: Whole, request_: bytes) -> None:
    whole = await served.talk(request_)
    assert undated(whole) == undated(await served.talk(request_.replace(b"/whole/", b"/send/")))
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not any(app.answers)


async def test_no_header_ends_its_line(served: Served, app: Whole) -> None:
    answer = await served.talk(asked(b"split"), CLOSE)
    assert b"x-injected" not in answer
    assert app.answers == [False]


def posted(size: int, more: bytes = b"") -> bytes:
    return asked(b"echo", b"POST", more=b"content-length: %d\r\n%s" % (size, more))


async def test_a_body_that_came_with_its_head_is_taken_whole(served: Served, app: Whole) -> None:
    answer = await served.talk(posted(5) + b"hello", CLOSE)
    assert b"\r\n\r\nhello" in answer
    assert app.bodies == [True, True]


async def test_a_body_in_chunks_is_taken_whole_if_it_is_there(served: Served, app: Whole) -> None:
    chunked = asked(b"echo", b"POST", more=b"transfer-encoding: chunked\r\n")
    answer = await served.talk(chunked + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", CLOSE)
    assert b"\r\n\r\nhello" in answer
    assert app.bodies == [True, True]


async def test_a_body_that_comes_later_is_received(served: Served, app: Whole) -> None:
    reader, writer = await served.connect()
    writer.write(posted(5) + b"he")
    await asyncio.wait_for(app.called.wait(), PATIENCE)
    writer.write(b"llo" + CLOSE)
    assert b"\r\n\r\nhello" in await answer_of(reader, writer)
    assert app.bodies == [False, True]


async def test_who_expects_100_gets_it(served: Served, app: Whole) -> None:
    answer = await served.talk(posted(5, b"expect: 100-continue\r\n") + b"hello", CLOSE)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert b"\r\n\r\nhello" in answer
    assert app.bodies == [False, True]


async def test_who_sends_garbage_holds_up_no_other_client(served: Served) -> None:
    """Its answer is written to its end, and then the application asks for its body."""
    garbage = posted(5, b"expect: 100-continue\r\n") + b"hello" + b"GARBAGE\r\n\r\n"
    opened = [await served.connect() for _ in range(10)]
    for number, (_, writer) in enumerate(opened):
        writer.write(garbage if number % 2 == 0 else posted(5, b"expect: 100-continue\r\n"))
    for reader, writer in opened[1::2]:
        assert await asyncio.wait_for(reader.readline(), PATIENCE) == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b"hello" + CLOSE)
        assert b"\r\n\r\nhello" in await answer_of(reader, writer)
    for reader, writer in opened[::2]:
        assert (await answer_of(reader, writer)).startswith(b"HTTP/1.1 400 ")


async def test_over_tls_answers_are_whole_too(app: Whole, certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with serving(app=app, tls=certificate) as served:
        reader, writer = await asyncio.open_connection("localhost", served.port, ssl=trusting)
        writer.write(posted(5) + b"hello" + asked(b"whole/long") + CLOSE)
        answer = await answer_of(reader, writer)
    assert b"\r\n\r\nhello" in answer
    assert b"x" * 200_000 in answer
    assert app.answers == [True, True, False]


async def test_who_left_gets_no_answer(served: Served, app: Whole) -> None:
    reader, writer = await served.connect()
    writer.write(asked(b"wait"))
    await asyncio.wait_for(app.waiting.wait(), PATIENCE)
    writer.transport.abort()
    await asyncio.wait_for(app.left.wait(), PATIENCE)
    assert app.answers == [False]
    del reader


async def test_an_answer_that_ends_its_connection_is_sent_in_messages(served: Served, app: Whole) -> None:
    answer = await served.talk(asked(b"ends", b"POST", more=b"content-length: 5\r\n") + b"hello")
    assert answer.endswith(b"\r\n\r\nhello")
    assert app.answers == [False]


async def test_an_answer_without_a_body_has_none(served: Served, app: Whole) -> None:
    """uvicorn refuses it, and ends the connection before anybody takes the body for an answer."""
    answer = await served.talk(asked(b"forbidden"), CLOSE)
    assert b"body" not in answer
    assert app.answers == [False]


async def test_after_a_whole_body_receive_waits_until_the_client_leaves(served: Served, app: Whole) -> None:
    _, writer = await served.connect()
    writer.write(asked(b"stay", b"POST", more=b"content-length: 2\r\n") + b"ab")
    await asyncio.wait_for(app.waiting.wait(), PATIENCE)
    await asyncio.sleep(0.05)
    assert app.events == []
    writer.transport.abort()
    await asyncio.wait_for(app.left.wait(), PATIENCE)
    assert app.events == ["http.disconnect"]


async def test_many_requests_at_once_are_answered_in_their_order(served: Served, app: Whole) -> None:
    sizes = [number * 7 % 9001 for number in range(300)]
    answer = await served.talk(b"".join(posted(size) + b"x" * size for size in sizes) + CLOSE)
    found = [int(each) for each in re.findall(rb"content-length: (\d+)", answer)]
    assert found == [*sizes, 0]
    assert app.answers.count(True) > 200


async def test_a_client_that_does_not_read_is_waited_for(served: Served, app: Whole) -> None:
    """Its answers fill the buffers. Then `answer` refuses, and `send` waits until the client reads."""
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.setblocking(False)
        client.sendall(asked(b"whole/long") * 100)
        await asyncio.wait_for(app.refused.wait(), PATIENCE)
        assert len(app.answers) < 100
        got, loop = b"", asyncio.get_running_loop()
        while got.count(b"HTTP/1.1 200 OK") < 100 or not got.endswith(b"x" * 200_000):
            got += await asyncio.wait_for(loop.sock_recv(client, 1 << 20), PATIENCE)
    assert got.count(b"x" * 200_000) == 100
