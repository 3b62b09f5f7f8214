"""The model of a machine, reached over a Unix socket by several processes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lapel.foundation.workers.socket_frames import LENGTH
from lapel.slices.language_models.local.generation_messages import LARGEST
from lapel.slices.language_models.local.generation_server import serve_generator, stream_from
from lapel.slices.language_models.local.local_generator import LocalGenerator
from lapel.slices.language_models.model_failures import ModelAway, ModelFailed
from tests.language_models.local.asking import asked, whole


@asynccontextmanager
async def served(generator: LocalGenerator, path: Path) -> AsyncGenerator[Path]:
    stop, ready = asyncio.Event(), asyncio.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        task = asyncio.create_task(serve_generator(generator, listener, stop, ready.set))
        await ready.wait()
        try:
            yield path
        finally:
            stop.set()
            await task
    path.unlink()  # noqa: ASYNC240


async def test_answers_and_failures_arrive_as_they_are(generator: LocalGenerator, tmp_path: Path) -> None:
    async with served(generator, tmp_path / "m.sock") as path:
        text, finished = await whole(stream_from(path, asked("count 3")))
        assert (text, finished.finish_reason, finished.input) == ("0 1 2 ", "stop", 3)
        with pytest.raises(ModelFailed) as failed:
            await whole(stream_from(path, asked("refuse context")))
        assert failed.value.code == "context"
        with pytest.raises(ModelAway, match="ended in mid-work"):
            await whole(stream_from(path, asked("die")))
        answers = await asyncio.gather(*(whole(stream_from(path, asked("count 2", n))) for n in range(5)))
        assert [text for text, _ in answers] == ["0 1 "] * 5


async def test_a_caller_that_leaves_makes_room_for_the_next(
    generator: LocalGenerator, tmp_path: Path
) -> None:
    async with served(generator, tmp_path / "m.sock") as path:
        async with aclosing(stream_from(path, asked("wait"))) as pieces:
            assert await anext(pieces) == "waiting"
            pid = generator.pid
        assert (await whole(stream_from(path, asked("pid"))))[0] == str(pid)


async def test_a_caller_that_leaves_the_line_is_forgotten(generator: LocalGenerator, tmp_path: Path) -> None:
    async with served(generator, tmp_path / "m.sock") as path:
        async with aclosing(stream_from(path, asked("wait"))) as first:
            await anext(first)
            waiting = [asyncio.create_task(whole(stream_from(path, asked("count 1")))) for _ in range(9)]
            refused, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert [str(each.exception()) for each in refused] == [
                "Too many requests wait for the local language model."
            ]
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        assert (await whole(stream_from(path, asked("count 1"))))[0] == "0 "


@pytest.mark.parametrize("sent", [b"", b"\0\0\0\5junk!", LENGTH.pack(LARGEST + 1), b"\0\0\1\0half"])
async def test_nonsense_gets_no_answer_and_harms_nobody(
    generator: LocalGenerator, tmp_path: Path, sent: bytes
) -> None:
    async with served(generator, tmp_path / "m.sock") as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert (await whole(stream_from(path, asked("count 1"))))[0] == "0 "


async def test_a_server_that_stops_sends_its_callers_away(generator: LocalGenerator, tmp_path: Path) -> None:
    async with served(generator, tmp_path / "m.sock") as path:
        pieces = stream_from(path, asked("wait"))
        assert await anext(pieces) == "waiting"
    with pytest.raises(ModelAway):
        await anext(pieces)
    with pytest.raises(ModelAway, match="does not answer"):
        await whole(stream_from(path, asked("count 1")))


async def test_what_a_caller_does_not_understand_means_that_the_model_is_away(tmp_path: Path) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = msgspec.msgpack.encode({"type": "Unheard"})
        writer.write(LENGTH.pack(len(body)) + body)
        writer.close()

    path = tmp_path / "odd.sock"
    async with await asyncio.start_unix_server(answer, path):
        with pytest.raises(ModelAway, match="ValidationError"):
            await whole(stream_from(path, asked("count 1")))
