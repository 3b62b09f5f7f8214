"""What the query process has to do, and the vectors that it remembers."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lapel.slices.embeddings.embedder.embedder_messages import PATIENCE
from lapel.slices.embeddings.model.model_messages import Kind, unpacked

MOST_QUERIES = 256  # that wait; a short one takes some milliseconds
# Bytes of UTF-8: about four are a token, in English as in Chinese, and the time grows with the tokens.
LONG_QUERY_BYTES = 256
MOST_REQUESTS_OF_SENTENCES = 32  # that wait
# Texts that the model embeds without a pause. A query that comes meanwhile waits for them.
QUERIES_AT_ONCE = 4  # a long query is alone
SENTENCES_AT_ONCE = 4

MOST_REMEMBERED = 4096  # vectors of queries
MOST_REMEMBERED_BYTES = 8 * 1024 * 1024
_OVERHEAD = 200  # bytes of memory of an entry besides its digest and its vector


class Asker(Protocol):
    """Somebody who waits for vectors."""

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        ...

    def answer(self, packed: bytes | None) -> None:
        """Called once, with the vectors or with None."""
        ...


@dataclass(slots=True, eq=False)
class _Awaited:
    """A request that waits. `left`: the texts that are not embedded yet; `done`: vectors of the others."""

    texts: list[str]
    since: float
    askers: list[Asker]
    done: list[bytes] = field(default_factory=list[bytes])

    @property
    def left(self) -> list[str]:
        return self.texts[len(self.done) :]

    def end(self, packed: bytes | None) -> None:
        for each in self.askers:
            if not each.gone:
                each.answer(packed)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts to embed at once. `end` takes their vectors, or None when the engine failed."""

    kind: Kind
    texts: list[str]
    end: Callable[[bytes | None], None]


class VectorCache:
    """The vectors of the queries that were asked last. It has digests of queries, and no query."""

    def __init__(self, entries: int = MOST_REMEMBERED, most_bytes: int = MOST_REMEMBERED_BYTES) -> None:
        self._entries = entries
        self._most_bytes = most_bytes
        self._vectors: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, digest: bytes) -> bytes | None:
        """The vector, which is now the newest; None when it is not remembered."""
        found = self._vectors.get(digest)
        if found is not None:
            self._vectors.move_to_end(digest)
        return found

    def put(self, digest: bytes, vector: bytes) -> None:
        """Remember a vector, and forget the oldest ones beyond the bounds."""
        self._drop(self._vectors.pop(digest, None))
        self._vectors[digest] = vector
        self._bytes += len(vector) + _OVERHEAD
        while len(self._vectors) > self._entries or self._bytes > self._most_bytes:
            self._drop(self._vectors.popitem(last=False)[1])

    def _drop(self, vector: bytes | None) -> None:
        if vector is not None:
            self._bytes -= len(vector) + _OVERHEAD


class EmbedderQueue:
    """The requests that wait: short queries first, in their order; then long ones, one at a time; then
    sentences, a few at a time. So nobody with a short query waits for more than one long query.

    Equal queries wait together. `clock`: monotonic seconds.
    """

    def __init__(self, cache: VectorCache, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._clock = clock
        self._queries: OrderedDict[bytes, _Awaited] = OrderedDict()
        self._long_queries: OrderedDict[bytes, _Awaited] = OrderedDict()
        self._query_askers = 0
        self._sentences: deque[_Awaited] = deque()

    def put(self, kind: Kind, texts: list[str], asker: Asker) -> None:
        """Answers at once if the vector is remembered or too many wait; else the request waits."""
        if kind == "query":
            self._put_query(texts[0], asker)
        elif len(self._sentences) >= MOST_REQUESTS_OF_SENTENCES:
            asker.answer(None)
        else:
            self._sentences.append(_Awaited(texts, self._clock(), [asker]))

    def _put_query(self, text: str, asker: Asker) -> None:
        encoded = text.encode()
        digest = hashlib.sha256(encoded).digest()
        known = self._cache.get(digest)
        if known is not None:
            asker.answer(known)
        elif self._query_askers >= MOST_QUERIES:
            asker.answer(None)
        else:
            self._query_askers += 1
            line = self._long_queries if len(encoded) > LONG_QUERY_BYTES else self._queries
            waiting = line.get(digest)
            if waiting is None:
                line[digest] = _Awaited([text], self._clock(), [asker])
            else:
                waiting.askers.append(asker)

    def take(self) -> Batch | None:
        """What to embed next; None when there is nothing to do."""
        return (
            self._take_queries(self._queries, QUERIES_AT_ONCE)
            or self._take_queries(self._long_queries, 1)
            or self._take_sentences()
        )

    def _take_queries(self, line: OrderedDict[bytes, _Awaited], most: int) -> Batch | None:
        taken: dict[bytes, _Awaited] = {}
        while line and len(taken) < most:
            digest, waiting = line.popitem(last=False)
            self._query_askers -= len(waiting.askers)
            if self._is_wanted(waiting, "query"):
                taken[digest] = waiting
        if not taken:
            return None

        def end(packed: bytes | None) -> None:
            vectors = [None] * len(taken) if packed is None else unpacked(packed)
            for (digest, waiting), vector in zip(taken.items(), vectors, strict=True):
                if vector is not None:
                    self._cache.put(digest, vector)
                waiting.end(vector)

        return Batch("query", [each.texts[0] for each in taken.values()], end)

    def _take_sentences(self) -> Batch | None:
        while self._sentences and not self._is_wanted(self._sentences[0], "sentence"):
            self._sentences.popleft()
        if not self._sentences:
            return None
        first = self._sentences[0]
        batch = first.left[:SENTENCES_AT_ONCE]

        def end(packed: bytes | None) -> None:
            if packed is not None:
                first.done += unpacked(packed)
            if packed is None or not first.left:
                self._sentences.popleft()  # `first`: others are added behind it
                first.end(None if packed is None else b"".join(first.done))

        return Batch("sentence", batch, end)

    def _is_wanted(self, waiting: _Awaited, kind: Kind) -> bool:
        """Whether a client still waits; otherwise the request ends here."""
        late = self._clock() - waiting.since > PATIENCE[kind]
        if late:
            waiting.end(None)
        return not late and any(not each.gone for each in waiting.askers)
