"""Large answers: none is made before there is room, and a reader that stands still gives its room back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count

import pytest
from structlog.testing import capture_logs

from lapel.foundation.core.asgi import ClientGone, Message, Receive, Scope, Send
from lapel.foundation.core.errors import NotFound, Unavailable
from lapel.foundation.http.large_responses import IN_PIECES, LargeAnswers
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen

MIB = 1 << 20
LARGE = bytes(64 * MIB)
PIECE = b"piece" * 10_000


class Library:
    """An application whose path is the reader's world and the size of the answer in MiB, or `endless`,
    `three` or `deleted` for one in pieces."""

    def __init__(self, large: LargeAnswers) -> None:
        self._large = large
        self.made: list[str] = []
        self.cut: list[str] = []
        self.closed: list[str] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        world, size = scope["path"].strip("/").split("/")
        try:
            if not size.isdigit():
                async with self._large.room(scope, int(world), IN_PIECES, made=False) as place:
                    self.made.append(world)
                    await send({"type": "http.response.start", "status": 200, "headers": []})
                    await self._large.send(scope, send, self._pieces(world, size), place)
                return
            async with self._large.room(scope, int(world), int(size) * MIB, made=True) as place:
                self.made.append(world)
                body = LARGE[: int(size) * MIB]
                headers = [(b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await self._large.send(scope, send, body, place)
        except Unavailable:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        except ClientGone:
            self.cut.append(world)

    async def _pieces(self, world: str, kind: str) -> AsyncGenerator[bytes]:
        try:
            for number in count():
                await asyncio.sleep(0)
                if (kind, number) == ("deleted", 2):
                    raise NotFound("It is deleted.")
                if (kind, number) == ("three", 3):
                    return
                yield PIECE
        finally:
            self.closed.append(world)


@asynccontextmanager
async def library(window: float) -> AsyncGenerator[tuple[Library, int]]:
    made = Library(LargeAnswers(window=window))
    sockets = listen("127.0.0.1", 0)
    port: int = sockets[0].getsockname()[1]
    stop, ready = asyncio.Event(), asyncio.Event()
    limits = HttpLimits(60, 60, 1 << 16, lambda: "req")
    serving = asyncio.create_task(serve(made, sockets, limits, stop, ready=ready.set, drain=0.1))
    await ready.wait()
    try:
        yield made, port
    finally:
        stop.set()
        await serving


async def ask(
    port: int, path: str, method: str = "GET", version: str = "1.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request, and read the answer or not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(f"{method} {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return reader, writer


async def read(port: int, path: str, method: str = "GET", version: str = "1.1") -> bytes:
    reader, writer = await ask(port, path, method, version)
    answer = await reader.read(-1)
    writer.close()
    return answer


async def until_made(made: Library, number: int) -> None:
    while len(made.made) < number:  # noqa: ASYNC110 - the application's own list
        await asyncio.sleep(0.01)


async def test_readers_that_stand_still_do_not_keep_others_from_reading() -> None:
    async with library(window=0.2) as (made, port):
        still = [await ask(port, f"/{world}/64") for world in (1, 2)]
        await until_made(made, 2)
        await asyncio.sleep(0.5)
        assert made.cut == [], "nobody waits: they may take their time"
        answer = await read(port, "/3/1")
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\n" + bytes(MIB))
        assert set(made.cut) <= {"1", "2"}
        assert made.cut
        for _, writer in still:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_reader_that_is_cut_off_is_no_error_but_one_line_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with capture_logs() as ours, caplog.at_level("INFO"):
        async with library(window=0.2) as (made, port):
            still = [await ask(port, f"/{world}/64") for world in (1, 2)]
            await until_made(made, 2)
            while not made.cut:
                await read(port, "/3/1")
            for _, writer in still:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert [(line["event"], line["log_level"]) for line in ours] == [("answer.cut_off", "warning")] * len(
        made.cut
    )


async def test_no_more_is_under_way_than_there_is_room_for_and_who_waits_in_vain_is_503() -> None:
    large = LargeAnswers(window=0.05)
    async with large.room({}, 1, 64 * MIB, made=True), large.room({}, 2, 64 * MIB, made=True):
        with pytest.raises(Unavailable) as refused:
            async with large.room({}, 3, MIB, made=False):
                pass
    assert dict(refused.value.headers)["Retry-After"] == "2"
    async with large.room({}, 3, MIB, made=False):
        pass


async def test_of_one_world_only_half_is_under_way() -> None:
    large = LargeAnswers(window=0.05)
    async with large.room({}, 1, 60 * MIB, made=True):
        with pytest.raises(Unavailable):
            async with large.room({}, 1, 10 * MIB, made=True):
                pass
        async with large.room({}, 2, 10 * MIB, made=True):
            pass


async def test_what_is_not_made_yet_counts_threefold_until_it_is() -> None:
    large = LargeAnswers(window=0.05)
    async with large.room({}, 1, 40 * MIB, made=False) as place:
        with pytest.raises(Unavailable):
            async with large.room({}, 2, 20 * MIB, made=True):
                pass

        async def nowhere(_: object) -> None:
            async with large.room({}, 2, 20 * MIB, made=True):
                pass

        await large.send({}, nowhere, bytes(10 * MIB), place)


async def test_of_exports_one_world_has_two_at_once() -> None:
    large = LargeAnswers(window=0.05)
    async with large.room({}, 1, 8 * MIB, made=False), large.room({}, 1, 8 * MIB, made=False):
        with pytest.raises(Unavailable) as refused:
            async with large.room({}, 1, 8 * MIB, made=False):
                pass
        assert dict(refused.value.headers)["Retry-After"] == "2"
        async with large.room({}, 2, 8 * MIB, made=False):
            pass


def body_of(answer: bytes) -> tuple[bytes, bytes]:
    """Head, in small letters, and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower(), body


async def test_an_answer_in_pieces_is_chunked_and_to_a_client_that_knows_no_chunks_plain() -> None:
    async with library(window=5) as (made, port):
        head, body = body_of(await read(port, "/1/three"))
        assert b"\r\ntransfer-encoding: chunked" in head
        assert b"content-length" not in head
        chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
        assert body == chunk * 3 + b"0\r\n\r\n"
        head, body = body_of(await read(port, "/2/three", version="1.0"))
        assert b"transfer-encoding" not in head
        assert b"content-length" not in head
        assert b"\r\nconnection: close" in head
        assert body == PIECE * 3
        head, body = body_of(await read(port, "/3/three", method="HEAD"))
        assert head.startswith(b"http/1.1 200")
        assert body == b""
        head, body = body_of(await read(port, "/4/1", version="1.0"))
        assert b"\r\ncontent-length: %d" % MIB in head
        assert body == bytes(MIB)
        assert made.closed == ["1", "2"], "for HEAD nothing is made"


async def test_when_the_reader_goes_or_the_rest_cannot_be_made_the_answer_ends_without_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with capture_logs() as ours, caplog.at_level("INFO"):
        async with library(window=5) as (made, port):
            reader, writer = await ask(port, "/1/endless")
            await reader.readexactly(len(PIECE))
            assert made.closed == []
            writer.transport.abort()
            while not made.closed:  # noqa: ASYNC110 - the application's own list
                await asyncio.sleep(0.01)
            _, body = body_of(await read_to_the_end(port, "/2/deleted"))
            assert not body.endswith(b"0\r\n\r\n")
            assert made.closed == made.cut == ["1", "2"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert [(line["event"], line.get("code")) for line in ours] == [("answer.broken_off", "not_found")]


async def read_to_the_end(port: int, path: str) -> bytes:
    """What comes before the connection is ended, however that is."""
    reader, writer = await ask(port, path)
    found = b""
    with suppress(ConnectionError):
        while part := await reader.read(1 << 16):
            found += part
    writer.close()
    return found


async def test_one_world_may_read_thirty_answers_in_pieces_at_once() -> None:
    large = LargeAnswers(window=0.05)
    async with AsyncExitStack() as stack:
        for _ in range(30):
            await stack.enter_async_context(large.room({}, 1, IN_PIECES, made=False))
        async with large.room({}, 2, 64 * MIB, made=True):
            pass


async def test_a_reader_of_pieces_that_stands_still_is_cut_off_and_one_that_waits_for_the_next_is_not() -> (
    None
):
    large = LargeAnswers(window=0.1)
    cut: list[str] = []

    async def read_pieces(name: str, pieces: AsyncGenerator[bytes], still: bool) -> None:
        async def send(message: Message) -> None:
            if still and message.get("body"):
                await asyncio.Event().wait()

        try:
            async with large.room({}, 1, 64 * MIB, made=True) as place:
                await large.send({"method": "GET"}, send, pieces, place)
        except ClientGone:
            cut.append(name)

    async def slow() -> AsyncGenerator[bytes]:
        yield b"a"
        await asyncio.sleep(0.6)
        yield b"b"

    waits = asyncio.create_task(read_pieces("waits", slow(), still=False))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        async with large.room({}, 1, MIB, made=True):
            pass
    await waits
    assert cut == []
    still = asyncio.create_task(read_pieces("still", slow(), still=True))
    await asyncio.sleep(0)
    while not still.done():
        with suppress(Unavailable):
            async with large.room({}, 1, MIB, made=True):
                pass
    assert cut == ["still"]
