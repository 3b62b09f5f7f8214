"""The client of the query process. It raises nothing: without an answer, search goes on with words alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import structlog

from lapel.foundation.database.turns.world_shares import PROJECT, WORLD
from lapel.foundation.workers.socket_frames import frame_body, framed
from lapel.slices.embeddings.embedder.embedder_messages import (
    MOST_OF_AN_ANSWER,
    PATIENCE,
    EmbedAnswer,
    EmbedRequest,
)
from lapel.slices.embeddings.model.model_messages import VECTOR_BYTES, Kind, unpacked

# Seconds for the first answer on a connection, because the connection may have started the process.
STARTING_SECONDS = 6.0
# Seconds during which nobody waits for a process that has fallen silent.
SILENT_SECONDS = 1.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class EmbedderClient:
    """One connection to the query process, made again when it breaks. Many calls may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opening = asyncio.Lock()
        self._connection: _Connection | None = None
        self._silent_until = 0.0
        self._absent_since: float | None = None

    def absent_seconds(self) -> float:
        """Seconds since a process was first missed that has not answered since then; 0 if none is missed."""
        return 0.0 if self._absent_since is None else asyncio.get_running_loop().time() - self._absent_since

    async def vectors(self, texts: list[str], kind: Kind) -> list[bytes] | None:
        """The vectors of one query or of some sentences, cleaned; None when the process does not answer.

        It takes turns for the project and the world of the present request.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._silent_until:
            return None
        began = loop.time()
        packed = connection = None
        try:
            async with asyncio.timeout(PATIENCE[kind]) as limit:
                was_open = self._connection is not None and not self._connection.is_lost
                connection = await self._connected(limit)
                packed = await connection.ask(kind, texts)
                if packed is None and was_open and connection.is_lost:
                    # The process had been idle, and ended just now. A connection starts it again.
                    connection = await self._connected(limit)
                    packed = await connection.ask(kind, texts)
        except TimeoutError:
            if connection is None or connection.heard < began:
                self._silent_until = loop.time() + SILENT_SECONDS
                if connection is not None:
                    connection.abort()
            _log.warning("embedder.late", kind=kind)
        except OSError as fault:
            _log.debug("embedder.away", error=str(fault))
        if connection is not None and connection.heard:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = loop.time()
        if packed is None or len(packed) != len(texts) * VECTOR_BYTES:
            return None
        return unpacked(packed)

    async def aclose(self) -> None:
        """Close the connection; a later call makes another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connected(self, limit: asyncio.Timeout) -> _Connection:
        """The connection. A new one may start the process, so it extends the limit, unless the process is
        missed already."""
        async with self._opening:
            if self._connection is None or self._connection.is_lost:
                await self.aclose()
                self._connection = _Connection(*await asyncio.open_unix_connection(self._path))
            if not self._connection.heard and self._absent_since is None and (when := limit.when()):
                limit.reschedule(max(when, asyncio.get_running_loop().time() + STARTING_SECONDS))
            return self._connection


class _Connection:
    """An open connection. `heard`: when the last answer came, in seconds of the loop's clock."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = 0
        self._waiting: dict[int, asyncio.Future[bytes | None]] = {}
        self.heard = 0.0
        self._reading = asyncio.create_task(self._read())

    @property
    def is_lost(self) -> bool:
        return self._reading.done() or self._writer.transport.is_closing()

    async def ask(self, kind: Kind, texts: list[str]) -> bytes | None:
        """The packed vectors; None when the process refuses, or the connection is lost."""
        self._numbers += 1
        number = self._numbers
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(framed(EmbedRequest(number, kind, texts, PROJECT.get(), WORLD.get() or 0)))
            return await answer
        finally:
            del self._waiting[number]

    def abort(self) -> None:
        """Close the connection; calls that wait get None."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self.abort()
        await asyncio.wait({self._reading})

    async def _read(self) -> None:
        decoder = msgspec.msgpack.Decoder(EmbedAnswer)
        try:
            while True:
                self._heed(decoder.decode(await frame_body(self._reader, MOST_OF_AN_ANSWER)))
        except (OSError, asyncio.IncompleteReadError):
            pass
        except ValueError as fault:
            _log.warning("embedder.bad_answer", error=str(fault))
        finally:
            self.abort()
            for each in self._waiting.values():
                if not each.done():
                    each.set_result(None)

    def _heed(self, answer: EmbedAnswer) -> None:
        self.heard = asyncio.get_running_loop().time()
        waiting = self._waiting.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.packed)
