"""Embeddings: vectors of texts, for search by meaning and for the choice of sentences.

Two texts of similar meaning, in any two of some hundred languages, have vectors whose dot product is large.
The products of this model lie between about 0.7 and 1.0, so they order texts, and no fixed limit divides
similar from different.

Model: multilingual-e5-small (Wang et al., 2024, https://arxiv.org/abs/2402.05672).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.database.turns.world_shares import WorldShares
from lapel.slices.embeddings.embedder.embedder_client import EmbedderClient
from lapel.slices.embeddings.embedder.embedder_messages import MOST_SENTENCES
from lapel.slices.embeddings.failures import EmbeddingsAway, NoEmbeddings
from lapel.slices.embeddings.model.model_files import MISSING, installed_model
from lapel.slices.embeddings.model.model_messages import DIMENSIONS
from lapel.slices.embeddings.model.own_child import OwnChild
from lapel.slices.embeddings.similarity import Meanings, cosines, dot
from lapel.slices.embeddings.texts import batches, cleaned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.settings import Settings
    from lapel.slices.embeddings.model.model_messages import Kind

__all__ = [
    "DIMENSIONS",
    "MOST_SENTENCES",
    "Embeddings",
    "EmbeddingsAway",
    "Meanings",
    "NoEmbeddings",
    "OwnMeanings",
    "cosines",
    "dot",
]

# Seconds that a caller with `waits` waits, and the pauses between its tries.
WAIT_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# If nobody has listened at the socket of the query process for so long, there is none: the supervisor starts
# a process that ended again within 10 seconds, but not one whose weights are damaged.
ABSENT_SECONDS = 12.0
# Requests with `waits` that each process makes for one world at once. The query process has 32 places.
MOST_OF_WORLD = 2

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Embeddings:
    """The embedding model, as one process uses it; one object per process.

    Queries and sentences are embedded by the query process of the machine. A process without one, such as a
    command, embeds them in its own child.

    A vector is DIMENSIONS float32, little endian, of length 1. `model` is the name to store beside each
    vector: vectors of different models cannot be compared. It is None when the model is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        files = installed_model()
        self.model: str | None = None if files is None else files.name
        self._child = None if files is None else OwnChild(files, settings.speech_threads)
        socket = settings.embedder_socket
        self._client = None if files is None or socket is None else EmbedderClient(socket)
        self._shares = WorldShares(2 * MOST_OF_WORLD, WAIT_SECONDS)  # a world has half of the places

    @property
    def pid(self) -> int | None:
        """Process id of this process's own child while there is one."""
        return None if self._child is None else self._child.pid

    async def query(self, text: str, *, waits: bool = False) -> bytes | None:
        """The vector of a question; of its first 256 tokens (180 words of English), if it is longer.

        None when the model is not available now, or not installed. With `waits`, None means that it is not
        installed, or damaged, or has no process: else the call waits, and raises EmbeddingsAway after
        WAIT_SECONDS.
        """
        found = await self._shared([text], "query", waits=waits)
        return None if found is None else found[0]

    async def sentences(self, texts: Sequence[str], *, waits: bool = False) -> list[bytes] | None:
        """The vectors of up to MOST_SENTENCES sentences that may answer a question.

        Of a longer sentence, the first 128 tokens are embedded. None, `waits` and EmbeddingsAway: see
        `query`. Raises ValueError when there are more sentences.
        """
        if len(texts) > MOST_SENTENCES:
            raise ValueError(f"{len(texts)} sentences, and {MOST_SENTENCES} are allowed")
        if not texts:
            return []
        return await self._shared(texts, "sentence", waits=waits)

    async def passages(self, texts: Sequence[str]) -> list[bytes]:
        """The vectors of texts that may answer a question, in a child process of this process.

        The child gets the texts in batches, so other calls wait for one batch at most. Of a longer text, the
        first 512 tokens are embedded (350 words of English).

        Raises EmbeddingsAway when the child ended (another call may succeed), NoEmbeddings when the model is
        not installed or damaged.
        """
        if self._child is None:
            raise NoEmbeddings(MISSING)
        found: list[bytes] = []
        for batch in batches([cleaned(text, "passage") for text in texts]):
            found += await self._child.vectors(batch, "passage")
        return found

    async def aclose(self) -> None:
        """End the child process and the connection. Later calls start new ones."""
        if self._client is not None:
            await self._client.aclose()
        if self._child is not None:
            await self._child.aclose()

    async def _shared(self, texts: Sequence[str], kind: Kind, *, waits: bool) -> list[bytes] | None:
        if self._child is None:
            return None
        clean = [cleaned(text, kind) for text in texts]
        try:
            if not waits:
                return await self._now(self._child, clean, kind)
            async with asyncio.timeout(WAIT_SECONDS):
                return await self._awaited(self._child, clean, kind)
        except NoEmbeddings as fault:
            _log.warning("embeddings.none", error=str(fault))
            return None
        except TimeoutError:
            raise EmbeddingsAway(f"There were no vectors within {WAIT_SECONDS:.0f} seconds.") from None

    async def _awaited(self, child: OwnChild, clean: list[str], kind: Kind) -> list[bytes]:
        """The vectors, as soon as there are any. Raises NoEmbeddings."""
        world = await self._shares.enter()
        try:
            pause = _FIRST_PAUSE
            while (found := await self._now(child, clean, kind)) is None:
                if self._client is not None and self._client.absent_seconds() > ABSENT_SECONDS:
                    raise NoEmbeddings("There is no query process.")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            return found
        finally:
            self._shares.leave(world)

    async def _now(self, child: OwnChild, clean: list[str], kind: Kind) -> list[bytes] | None:
        """The vectors; None when the model is not available now. Raises NoEmbeddings."""
        if self._client is not None:
            return await self._client.vectors(clean, kind)
        try:
            return [each for batch in batches(clean) for each in await child.vectors(batch, kind)]
        except EmbeddingsAway as fault:
            _log.warning("embeddings.away", error=str(fault))
            return None


class OwnMeanings:
    """Meanings that the own child process of this process makes: a worker's, or a command's."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    async def sentences(self, texts: Sequence[str]) -> list[bytes] | None:
        """See Meanings. None: the model is not installed, or damaged.

        Raises EmbeddingsAway when the child ended twice.
        """
        try:
            try:
                return await self._embeddings.passages(texts)
            except EmbeddingsAway:  # the next call starts another child
                return await self._embeddings.passages(texts)
        except NoEmbeddings:
            return None
