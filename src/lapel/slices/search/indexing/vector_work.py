"""Computes the vectors of chunks, in a worker.

A transcript is leased to a worker for one batch of chunks. After each batch, the next one goes to the world
that was served longest ago, so a project with thousands of hours delays nobody's hour. A batch is written in
one transaction, if the worker still has the lease. So a killed worker loses one batch, and no chunk gets two
vectors.
"""

from __future__ import annotations

import array
import secrets
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.queue import jobs
from lapel.slices.embeddings.service import EmbeddingsAway, NoEmbeddings
from lapel.slices.search.indexing import vector_queries
from lapel.slices.search.payloads import EMBED, EmbedTranscript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.foundation.ports import Ports
    from lapel.slices.embeddings.service import Embeddings
    from lapel.slices.search.indexing.vector_queries import PassageRow, TranscriptDueRow

# About two seconds of work.
_BATCH = 32
_LEASE = timedelta(minutes=2)
# Seconds for which a job does one batch after the other; less than the job's time limit.
_STAY = 200.0
# A transcript that fails this often gets no more vectors; it is found by its words.
_MOST_TRIES = 12
_LONGEST_WAIT = timedelta(minutes=10)
# Transcripts with vectors of another model that one run of the sweep lets wait for vectors of this one.
_RENEWED_AT_ONCE = 200
_FORGOTTEN_AT_ONCE = 200

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class VectorWork:
    """Computes the vectors that are due, batch after batch."""

    def __init__(self, ports: Ports, embeddings: Embeddings) -> None:
        self._ports = ports
        self._embeddings = embeddings

    async def start(self) -> None:
        """Nothing: the model starts with the first batch."""

    async def stop(self) -> None:
        """End the model's process. The batch that it was computing is put back."""
        await self._embeddings.aclose()

    async def work(self, told: EmbedTranscript) -> None:
        """Do what is due, for some minutes at most. Raises Unavailable when the database is away."""
        model = self._embeddings.model
        if model is None:  # the rows wait until the model is installed
            return
        until = time.monotonic() + _STAY
        while await self._batch(model):
            if time.monotonic() > until:
                async with self._ports.database.transaction() as connection:
                    await jobs.enqueue(connection, EMBED, told)
                return

    async def lacking(self, world_id: int) -> int:
        """How many transcripts of a world lack vectors, also those at which a worker is.

        Raises Unavailable when the database is away.
        """
        async with self._ports.database.acquire() as connection:
            return await vector_queries.count_lacking(connection, world_id)

    async def sweep(self) -> None:
        """Queue a job if any transcript is due, and renew vectors of another model, a part at a time.

        Raises Unavailable when the database is away.
        """
        model = self._embeddings.model
        if model is None:
            return
        async with self._ports.database.transaction() as connection:
            await vector_queries.renew_model(connection, model, _RENEWED_AT_ONCE)
            if await vector_queries.has_due(connection):
                await jobs.enqueue(connection, EMBED, EmbedTranscript(0, ""), dedupe="sweep")
            else:
                await vector_queries.forget_old(connection, model, _FORGOTTEN_AT_ONCE)

    async def _batch(self, model: str) -> bool:
        """Do one batch of the next transcript. False if none is due, or if the model is away."""
        async with self._ports.database.transaction() as connection:
            due = await vector_queries.claim(connection, secrets.token_hex(8), _LEASE)
        crash_point("embed:claimed")
        if due is None:
            return False
        async with self._ports.database.acquire() as connection:
            passages = await vector_queries.read_lacking(connection, due, model, _BATCH + 1)
        if due.tries > _MOST_TRIES:
            _log.error("search.gave_up", recording=due.recording_id)
            async with self._ports.database.transaction() as connection:
                await vector_queries.give_up(connection, due, model)
            return True
        batch = passages[:_BATCH]
        try:
            vectors = await self._embeddings.passages([each.embedded_text for each in batch])
        except (EmbeddingsAway, NoEmbeddings) as error:
            await self._put_back(due, error)
            return False
        crash_point("embed:embedded")
        await self._write(due, model, batch, vectors, is_last=len(passages) <= _BATCH)
        return True

    async def _write(
        self,
        due: TranscriptDueRow,
        model: str,
        batch: list[PassageRow],
        vectors: list[bytes],
        *,
        is_last: bool,
    ) -> None:
        async with self._ports.database.transaction() as connection:
            if not await vector_queries.lock(connection, due):  # replaced, deleted, or taken over
                return
            await vector_queries.insert_vectors(
                connection, due, model, [each.id for each in batch], numbers(vectors)
            )
            if is_last:
                await vector_queries.finish(connection, due, model)
            else:
                await vector_queries.proceed(connection, due, batch[-1].place + 1)
            crash_point("embed:before-commit")
        crash_point("embed:committed")

    async def _put_back(self, due: TranscriptDueRow, error: Exception) -> None:
        after = min(timedelta(seconds=2**due.tries), _LONGEST_WAIT)
        _log.warning("search.embeddings_away", after=after.total_seconds(), error=str(error))
        async with self._ports.database.transaction() as connection:
            await vector_queries.put_back(connection, due, after)


def numbers(vectors: Iterable[bytes]) -> list[float]:
    """All numbers of vectors that are float32, little endian."""
    found = array.array("f", b"".join(vectors))
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()
