"""Large answers: none is made before there is room, and a reader that stands still gives its room back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from lapel.foundation.asgi import ClientGone, Receive, Scope, Send
from lapel.foundation.errors import Unavailable
from lapel.foundation.http_guard import HttpLimits
from lapel.foundation.http_server import listen, serve
from lapel.foundation.large_answers import LargeAnswers

MIB = 1 << 20
LARGE = bytes(64 * MIB)


class Library:
    """An application whose path is the reader's world and the size of the answer in MiB."""

    def __init__(self, large: LargeAnswers) -> None:
        self._large = large
        self.made: list[str] = []
        self.cut: list[str] = []

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        world, size = scope["path"].strip("/").split("/")
        try:
            async with self._large.room(scope, int(world), int(size) * MIB, made=True) as place:
                self.made.append(world)
                body = LARGE[: int(size) * MIB]
                headers = [(b"content-length", b"%d" % len(body))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await self._large.send(send, body, place)
        except Unavailable:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        except ClientGone:
            self.cut.append(world)


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


async def ask(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request, and read the answer or not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return reader, writer


async def read(port: int, path: str) -> bytes:
    reader, writer = await ask(port, path)
    answer = await reader.read(-1)
    writer.close()
    return answer


async def until_made(made: Library, count: int) -> None:
    while len(made.made) < count:  # noqa: ASYNC110 - the application's own list
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

        await large.send(nowhere, bytes(10 * MIB), place)
