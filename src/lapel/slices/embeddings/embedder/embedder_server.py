"""The query process: embeds queries and sentences for all API processes of a machine.

The process has the model loaded, so a query takes milliseconds; it remembers the vectors of the last queries.
Its clients are processes of the same Lapel. The socket is in a folder that only their account may enter.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures.thread import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import structlog

from lapel.foundation.workers.local_sockets import connections
from lapel.foundation.workers.socket_frames import frame_body, framed
from lapel.slices.embeddings.embedder.embedder_messages import (
    MOST_OF_A_REQUEST,
    MOST_SENTENCES,
    EmbedAnswer,
    EmbedRequest,
)
from lapel.slices.embeddings.embedder.embedder_queue import EmbedderQueue, VectorCache
from lapel.slices.embeddings.model.loaded_model import BadVectors
from lapel.slices.embeddings.texts import MOST_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from lapel.slices.embeddings.embedder.embedder_queue import Batch, Tenant
    from lapel.slices.embeddings.model.loaded_model import LoadedModel

# There are at most 64 API processes, and a worker.
MOST_CONNECTIONS = 80
# Seconds for the rest of a frame that has begun.
FRAME_SECONDS = 5.0
# Bytes that a client leaves unread before it is cut off.
MOST_UNREAD = 1024 * 1024

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Asker:
    """One request on a connection."""

    def __init__(self, writer: asyncio.StreamWriter, request: EmbedRequest) -> None:
        self._writer = writer
        self._number = request.number
        self.tenant: Tenant = (request.project, request.world)

    @property
    def gone(self) -> bool:
        return self._writer.transport.is_closing()

    def answer(self, packed: bytes | None) -> None:
        transport = self._writer.transport
        if not transport.is_closing():
            self._writer.write(framed(EmbedAnswer(self._number, packed)))
            if transport.get_write_buffer_size() > MOST_UNREAD:
                transport.abort()


class EmbedderServer:
    """Answers frames. Short queries are embedded beside what takes longer."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._work = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._asked_at = 0.0

    async def run(
        self,
        listener: socket.socket,
        stop: asyncio.Event,
        ready: Callable[[], None],
        *,
        idle_seconds: float | None = None,
    ) -> None:
        """Serve until `stop` is set, or for `idle_seconds` without a request.

        It starts a thread: call it when the process has given up its rights.
        """
        self._asked_at = asyncio.get_running_loop().time()
        queue = EmbedderQueue(VectorCache(), self._model.tokens, asyncio.get_running_loop().time)
        tasks = {
            asyncio.create_task(self._accept(listener, queue)),
            asyncio.create_task(self._embed(queue.take_short)),
            asyncio.create_task(self._embed(queue.take_long)),
        }
        if idle_seconds is not None:
            tasks.add(asyncio.create_task(self._idle(idle_seconds)))
        stopping = asyncio.create_task(stop.wait())
        ready()
        try:
            ended, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                each.result()
        finally:
            listener.close()
            tasks |= {stopping, *self._connections}
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks)

    async def _idle(self, seconds: float) -> None:
        """Return once nobody has asked for so long."""
        loop = asyncio.get_running_loop()
        while (left := self._asked_at + seconds - loop.time()) > 0:  # noqa: ASYNC110 - a time
            await asyncio.sleep(left)

    async def _accept(self, listener: socket.socket, queue: EmbedderQueue) -> None:
        async for connection in connections(listener):
            if len(self._connections) >= MOST_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(self._connected(connection, queue))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _embed(self, take: Callable[[], Batch | None]) -> None:
        """Embed what `take` gives, one batch at a time."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(self._model.threads) as pool:
            while True:
                batch = take()
                if batch is None:
                    self._work.clear()
                    await self._work.wait()
                else:
                    batch.end(await loop.run_in_executor(thread, self._vectors, batch, pool))

    def _vectors(self, batch: Batch, pool: Executor) -> bytes | None:
        try:
            return self._model.vectors_of(batch.tokens, pool)
        except BadVectors as fault:
            _log.error("embedder.bad_vectors", error=str(fault))
            return None

    async def _connected(self, connection: socket.socket, queue: EmbedderQueue) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MOST_OF_A_REQUEST)
        try:
            await self._read(queue, reader, writer)
        except (OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
            pass
        except ValueError as fault:
            _log.warning("embedder.bad_frame", error=str(fault))
        finally:
            writer.transport.abort()

    async def _read(
        self, queue: EmbedderQueue, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read frames until the client leaves. Raises ValueError for a frame that cannot be a request."""
        decoder = msgspec.msgpack.Decoder(EmbedRequest)
        while first := await reader.read(1):
            async with asyncio.timeout(FRAME_SECONDS):
                body = await frame_body(reader, MOST_OF_A_REQUEST, first=first)
                request = _checked(decoder.decode(body))
            self._asked_at = asyncio.get_running_loop().time()
            queue.put(request.kind, request.texts, _Asker(writer, request))
            self._work.set()


def _checked(request: EmbedRequest) -> EmbedRequest:
    most = {"query": 1, "sentence": MOST_SENTENCES, "passage": 0}[request.kind]
    if not 0 < len(request.texts) <= most:
        raise msgspec.ValidationError(f"{len(request.texts)} texts of the kind {request.kind}")
    if max(map(len, request.texts)) > MOST_CHARACTERS[request.kind]:
        raise msgspec.ValidationError("a text is too long")
    return request
