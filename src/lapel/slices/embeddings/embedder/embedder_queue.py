"""What the query process has to do, in turns, and the vectors that it remembers."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, Protocol, TypeAlias, TypeVar

from lapel.foundation.database.turns.rounds import Rounds
from lapel.foundation.queue.places import Places
from lapel.slices.embeddings.embedder.embedder_messages import PATIENCE
from lapel.slices.embeddings.model.model_messages import Kind, unpacked

# Requests that wait in each line. A project gets another place only while more are free than it holds.
MOST_SHORT_QUERIES = 256  # one takes some milliseconds
MOST_LONG_QUERIES = 64
MOST_REQUESTS_OF_SENTENCES = 32
# Tokens of the longest short query; the time grows with the tokens.
SHORT_TOKENS = 64
# Texts that the model embeds without a pause: a turn.
QUERIES_AT_ONCE = 4  # a long query is alone
SENTENCES_AT_ONCE = 4

MOST_REMEMBERED = 4096  # vectors of queries
MOST_REMEMBERED_BYTES = 8 * 1024 * 1024
_OVERHEAD = 200  # bytes of memory of an entry besides its digest and its vector

Tenant: TypeAlias = "tuple[str, int]"
"""A project and one of its worlds."""


class Asker(Protocol):
    """Somebody who waits for vectors."""

    @property
    def tenant(self) -> Tenant:
        """Whose turns its request takes."""
        ...

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        ...

    def answer(self, packed: bytes | None) -> None:
        """Called once, with the vectors or with None."""
        ...


@dataclass(slots=True, eq=False)
class _Awaited:
    """A request that waits, with those who wait for it."""

    kind: Kind
    since: float
    askers: list[Asker]

    def end(self, packed: bytes | None) -> None:
        for each in self.askers:
            if not each.gone:
                each.answer(packed)


@dataclass(slots=True, eq=False)
class _Query(_Awaited):
    digest: bytes
    tokens: list[int]


@dataclass(slots=True, eq=False)
class _Sentences(_Awaited):
    """`done`: the vectors of the first texts."""

    texts: list[str]
    done: list[bytes] = field(default_factory=list[bytes])

    @property
    def left(self) -> list[str]:
        return self.texts[len(self.done) :]


_Request = TypeVar("_Request", bound=_Awaited)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts to embed at once, as tokens. `end` takes their vectors, or None when the engine failed."""

    tokens: list[list[int]]
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


class _TenantLine(Generic[_Request]):
    """Requests of one kind. The next one is of the project whose last turn in this line is the longest ago,
    and of this project's worlds likewise; else the one that came first. Requests for the same wait together.
    """

    def __init__(self, most: int) -> None:
        self._places = Places[str](most)
        self._rounds = Rounds()
        self._waiting: dict[Hashable, _Request] = {}

    def put(self, key: Hashable, asker: Asker, request: Callable[[], _Request]) -> None:
        """Add a request, which is made if no equal one waits. Without room, the asker is answered None."""
        project, _ = asker.tenant
        if not self._places.may_take(project):
            asker.answer(None)
            return
        self._places.take(project)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = request()
        waiting.askers.append(asker)

    def next(self, now: float) -> tuple[Hashable, _Request] | None:
        """The request whose turn it is; it stays in the line. Those that nobody waits for leave it."""
        for key, each in list(self._waiting.items()):
            late = now - each.since > PATIENCE[each.kind]
            if late or all(asker.gone for asker in each.askers):
                self.remove(key)
                each.end(None)
        if not self._waiting:
            return None
        tenant, key = min(  # of equal ones, `min` finds the first
            ((self._tenant_of(each), key) for key, each in self._waiting.items()),
            key=lambda pair: self._rounds.rank(pair[0]),
        )
        self._rounds.take(tenant)
        return key, self._waiting[key]

    def remove(self, key: Hashable) -> None:
        """Let a request leave the line."""
        for each in self._waiting.pop(key).askers:
            self._places.give_back(each.tenant[0])

    def _tenant_of(self, request: _Request) -> Tenant:
        """Of those who wait for it, the one whose turn comes first."""
        return min((each.tenant for each in request.askers), key=self._rounds.rank)


class EmbedderQueue:
    """The requests that wait, in three lines: short queries, a few at a time; long ones, one at a time; and
    sentences, a few at a time. In each line the projects take turns. The model embeds short queries beside
    the others, and long queries and sentences in turns. So nobody with a short query waits for long work,
    and nobody's question or check of an answer is put off by searches, however many.

    Equal queries wait together. `tokens`: the tokens that are embedded of a text; a longer text is cut.
    `clock`: monotonic seconds.
    """

    def __init__(
        self, cache: VectorCache, tokens: Callable[[str, Kind], list[int]], clock: Callable[[], float]
    ) -> None:
        self._cache = cache
        self._tokens = tokens
        self._clock = clock
        self._numbers = count()
        self._short = _TenantLine[_Query](MOST_SHORT_QUERIES)
        self._long = _TenantLine[_Query](MOST_LONG_QUERIES)
        self._sentences = _TenantLine[_Sentences](MOST_REQUESTS_OF_SENTENCES)
        self._lines = Rounds()  # of the long queries and the sentences

    def put(self, kind: Kind, texts: list[str], asker: Asker) -> None:
        """Answers at once if the vector is remembered, or if too many of the project or in all wait; else the
        request waits."""
        now = self._clock()
        if kind == "sentence":
            self._sentences.put(next(self._numbers), asker, lambda: _Sentences(kind, now, [], texts))
            return
        tokens = self._tokens(texts[0], kind)
        digest = hashlib.sha256(array("i", tokens)).digest()
        known = self._cache.get(digest)
        if known is not None:
            asker.answer(known)
            return
        line = self._short if len(tokens) <= SHORT_TOKENS else self._long
        line.put(digest, asker, lambda: _Query(kind, now, [], digest, tokens))

    def take_short(self) -> Batch | None:
        """The short queries to embed next; None when none waits."""
        return self._take_queries(self._short, QUERIES_AT_ONCE)

    def take_long(self) -> Batch | None:
        """The long query or the sentences to embed next; None when none wait."""
        lines = {"long": lambda: self._take_queries(self._long, 1), "sentences": self._take_sentences}
        for name in sorted(lines, key=lambda each: self._lines.rank((each,))):
            batch = lines[name]()
            if batch is not None:
                self._lines.take((name,))
                return batch
        return None

    def _take_queries(self, line: _TenantLine[_Query], most: int) -> Batch | None:
        taken: list[_Query] = []
        while len(taken) < most and (found := line.next(self._clock())) is not None:
            key, query = found
            line.remove(key)
            taken.append(query)
        if not taken:
            return None

        def end(packed: bytes | None) -> None:
            vectors = [None] * len(taken) if packed is None else unpacked(packed)
            for query, vector in zip(taken, vectors, strict=True):
                if vector is not None:
                    self._cache.put(query.digest, vector)
                query.end(vector)

        return Batch([each.tokens for each in taken], end)

    def _take_sentences(self) -> Batch | None:
        found = self._sentences.next(self._clock())
        if found is None:
            return None
        key, request = found

        def end(packed: bytes | None) -> None:
            if packed is not None:
                request.done += unpacked(packed)
            if packed is None or not request.left:
                self._sentences.remove(key)
                request.end(None if packed is None else b"".join(request.done))

        return Batch([self._tokens(each, "sentence") for each in request.left[:SENTENCES_AT_ONCE]], end)
