"""The search: its time beside that of its bare statements, what a filter misses, and the rate of indexing.

Run `python -m benchmarks.search`. API, PostgreSQL and the query process of embeddings are processes of
their own. The bare statements are those that the API executes, one after the other on one connection, with
vectors that are ready. Three end users are asked about: a usual one of 200 chunks; one of 25,000, the most
of which all vectors are compared; and one of 49,900, whose vectors are found along the index. All others
have 200 each. The recordings of all are stored in random order. LAPEL_BENCH_CHUNKS says how many chunks
there are (200,000, at least 2,000). With fewer than 200,000, the two large end users have an eighth and a
quarter of them; with fewer than 101,000, no end user is searched along the index. For 1,000,000, the
median of the bare statements goes on along a line through a quarter of the chunks and all of them; with
fewer than 100,000, there are no such figures. LAPEL_BENCH_CHUNKS=1000000 measures them. LAPEL_BENCH_WORDS
says how many words an indexed transcript has (9,000, as many as an hour).
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import asyncpg

from benchmarks.embeddings import NICENESS, Bare
from benchmarks.fill_search import OF_A_RECORDING, Material, grow, material, spoken
from benchmarks.report import Row, show
from benchmarks.rig import Api, Rig, rig
from lapel.evaluation.questions import questions
from lapel.foundation.ports import open_ports
from lapel.slices.embeddings.service import Embeddings
from lapel.slices.embeddings.texts import batches
from lapel.slices.search import queries
from lapel.slices.search.indexing.vector_work import VectorWork, numbers
from lapel.slices.search.nearest_queries import NearRow, find_nearest
from lapel.slices.search.passages.search_words import terms_of
from lapel.slices.search.question_mean import without_common_part
from lapel.slices.search.rank_fusion import joined
from lapel.slices.search.service import MOST_EXACT, nearness
from lapel.slices.search.wire import USUAL_RESULTS
from lapel.slices.search.word_queries import find_by_words
from lapel.slices.transcription.service import Segment
from tests.search.support import Library, segments_of
from tests.support.embedder import embedder
from tests.support.tenants import make_tenant

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

CHUNKS = int(os.environ.get("LAPEL_BENCH_CHUNKS", "200000"))
MILLION = 1_000_000
ENOUGH = 100_000  # chunks from which figures for a million can be told
USUAL, ALL_COMPARED, ALONG_INDEX = "eu_usual", "eu_compared", "eu_index"
OF_OTHERS = 200
CALLED = {
    USUAL: "search, a usual end user",
    ALL_COMPARED: "search, all vectors compared",
    ALONG_INDEX: "search, along the index",
}
OF = {
    USUAL: OF_OTHERS,
    ALL_COMPARED: min(CHUNKS // 8, MOST_EXACT),
    ALONG_INDEX: min(CHUNKS // 4, 49_900),
}
ROUNDS = 4
OF_A_ROUND = 25
RECALL_QUESTIONS = 50
BEST = 10
OF_AN_HOUR = 9_000
WORDS = int(os.environ.get("LAPEL_BENCH_WORDS", str(OF_AN_HOUR)))
TRANSCRIPTS = 3
_EXACT = """
SELECT v.chunk_id FROM search_vectors v WHERE (v.world_id = $1 AND v.end_user_id = $2) IS TRUE
ORDER BY (v.meaning <#> $3::real[]::halfvec(384)) + 0, v.chunk_id LIMIT $4
"""
_asked = itertools.count(1)


@dataclass(frozen=True)
class Times:
    """p95, in milliseconds: over HTTP with a new query, with one whose vector is remembered, of the bare
    statements for the same queries, and of the bare statements after the bare model has made the vector.

    `bare_median`: the median of the bare statements, in which what else the machine does counts less.
    """

    new: float
    remembered: float
    bare: float
    bare_with_model: float
    bare_median: float


@dataclass(frozen=True)
class _Found:
    """Milliseconds of each query. `model`: of the vectors of those of `bare`."""

    new: list[float]
    remembered: list[float]
    bare: list[float]
    model: list[float]

    def times(self) -> Times:
        """The figures of all but the first."""
        together = [one + other for one, other in zip(self.model, self.bare, strict=True)]
        return Times(
            new=_p95(self.new[1:]),
            remembered=_p95(self.remembered[1:]),
            bare=_p95(self.bare[1:]),
            bare_with_model=_p95(together[1:]),
            bare_median=statistics.median(self.bare[1:]),
        )


def query() -> str:
    """A question of the evaluation set with a number, so that it was never asked before."""
    number = next(_asked)
    known = _questions()
    return f"{known[number * 7 % len(known)]} {number}"


@cache
def _questions() -> list[str]:
    return [each.question for each in questions() if each.language == "en"]


@dataclass(frozen=True)
class _Bench:
    """One database, an API that searches in it, and a connection that executes bare statements."""

    rig: Rig
    api: Api
    embeddings: Embeddings
    connection: Connection

    @property
    def world_id(self) -> int:
        """The world of all chunks."""
        return self.api.filled.world_id

    async def rows(self) -> list[Row]:
        """All figures."""
        rows = await self._indexing()
        print("  transcripts indexed", flush=True)
        made_of = await material(self.embeddings)
        small = CHUNKS // 4
        first = {each: OF[each] for each in (USUAL, ALL_COMPARED)}
        await self._grow(made_of, first, small)
        before = {each: await self._times(each) for each in first}
        await self._grow(made_of, {ALONG_INDEX: OF[ALONG_INDEX]}, CHUNKS - small, small)
        for each in OF:
            rows += _rows(each, before.get(each), await self._times(each), small)
        rows += [await self._recall(each) for each in (ALL_COMPARED, ALONG_INDEX)]
        return rows

    async def _grow(self, made_of: Material, own: dict[str, int], total: int, first: int = 0) -> None:
        """Add `total` chunks: so many of `own`, and the rest of others. Recordings come in random order."""
        of_own = [each for each, count in own.items() for _ in range(0, count, OF_A_RECORDING)]
        others = range(first, first + total - len(of_own) * OF_A_RECORDING, OF_A_RECORDING)
        recordings = of_own + [f"eu_{each // OF_OTHERS:024}" for each in others]
        random.Random(first).shuffle(recordings)
        owners = [each for each in recordings for _ in range(OF_A_RECORDING)]
        started = time.perf_counter()
        dsn = self.rig.owner_dsn("search")
        await grow(dsn, self.world_id, str(self.embeddings.model), made_of, owners)
        print(f"  {first + total:,} chunks, after {time.perf_counter() - started:.0f} s", flush=True)

    async def _times(self, end_user_id: str) -> Times:
        """All in turn; the first of each is not counted."""
        found = _Found([], [], [], [])
        await self._in_turn(end_user_id, found)
        return found.times()

    async def _in_turn(self, end_user_id: str, found: _Found) -> None:
        model = Bare()
        for number in range(ROUNDS):
            new = [query() for _ in range(OF_A_ROUND)]
            found.new.extend(await asyncio.to_thread(self._over_http, end_user_id, new))
            texts = [query() for _ in range(OF_A_ROUND)]
            found.model.extend(1000 * model.seconds("query", [text]) for text in texts)
            ready = [(each, await self._vector(each)) for each in texts]  # now they are remembered
            # The second of two finds the pages of the same queries in memory.
            if number % 2:
                found.remembered.extend(await asyncio.to_thread(self._over_http, end_user_id, texts))
            for text, vector in ready:
                started = time.perf_counter()
                await self._bare(end_user_id, text, vector)
                found.bare.append(1000 * (time.perf_counter() - started))
            if not number % 2:
                found.remembered.extend(await asyncio.to_thread(self._over_http, end_user_id, texts))
        model.close()

    async def _bare(self, end_user_id: str, text: str, vector: list[float]) -> None:
        """All statements of a search."""
        owner, filters = (self.world_id, end_user_id), queries.SearchFilters()
        extent = await queries.extent(self.connection, *owner)
        words = await find_by_words(self.connection, owner, filters, extent, terms_of(text))
        near = await self._nearest(end_user_id, extent, vector)
        await queries.read_chunks(self.connection, owner, list(joined(words, near, USUAL_RESULTS)))

    async def _nearest(
        self, end_user_id: str, extent: list[queries.ExtentRow], vector: list[float]
    ) -> list[NearRow]:
        near = nearness(sum(each.chunks for each in extent), are_chosen=False, are_dated=False)
        arguments = ((self.world_id, end_user_id), queries.SearchFilters(), extent, near, vector)
        async with self.connection.transaction() if near == "index" else nullcontext():
            return await find_nearest(self.connection, *arguments, str(self.embeddings.model))

    async def _vector(self, text: str) -> list[float]:
        vector = await self.embeddings.query(text)
        if vector is None:
            raise RuntimeError("a query was not embedded")
        return without_common_part(numbers([vector]), self.embeddings.model)

    def _over_http(self, end_user_id: str, texts: list[str]) -> Iterator[float]:
        """Milliseconds of searches, one at a time on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.api.filled.key}", "Content-Type": "application/json"}
        found: list[float] = []
        for text in texts:
            body = json.dumps({"query": text, "end_user_id": end_user_id})
            started = time.perf_counter()
            connection.request("POST", "/v1/recordings/search", body, headers)
            answer = connection.getresponse()
            told = answer.read()
            found.append(1000 * (time.perf_counter() - started))
            if answer.status != http.client.OK or not json.loads(told)["results"]:
                raise RuntimeError(told)
        connection.close()
        return iter(found)

    async def _recall(self, end_user_id: str) -> Row:
        """How many of the nearest chunks the search finds, of those that an exact search finds."""
        extent = await queries.extent(self.connection, self.world_id, end_user_id)
        met = 0
        for _ in range(RECALL_QUESTIONS):
            vector = await self._vector(query())
            exact = await self.connection.fetch(_EXACT, self.world_id, end_user_id, vector, BEST)
            found = await self._nearest(end_user_id, extent, vector)
            met += len({each["chunk_id"] for each in exact} & {each.id for each in found[:BEST]})
        return Row(
            f"{CALLED[end_user_id]}: nearest chunks found, of exact",
            met / (RECALL_QUESTIONS * BEST),
            at_least=0.95,
            detail=f"{RECALL_QUESTIONS} questions, the best {BEST}; {OF[end_user_id] / CHUNKS:.0%} of the "
            f"chunks; with at most {MOST_EXACT:,} chunks all are compared",
        )

    async def _indexing(self) -> list[Row]:
        """Transcripts, from the transaction that completes one to the last vector, beside the bare model with
        the same passages in the same batches."""
        bare = Bare(NICENESS)
        words, ours, best = list[float](), list[float](), list[float]()
        count = 0
        async with open_ports(self.api.settings) as ports:
            library = Library(ports, await make_tenant(ports))
            end_user_id = await library.end_user()
            await library.said(end_user_id, segments_of(["The first one starts the model."]))
            await library.embed()
            for number in range(TRANSCRIPTS):
                segments = _transcript(number)
                started = time.perf_counter()
                recording_id = await library.said(end_user_id, segments)
                words.append(time.perf_counter() - started)
                await library.embed()
                ours.append(time.perf_counter() - started)
                found = await self.connection.fetch(_TEXTS, library.world_id, recording_id)
                texts = [each["chunk_text"] for each in found]
                best.append(bare.seconds("passage", *batches(texts)))
                count = len(texts)
            await library.services[VectorWork].stop()
        bare.close()
        goal = 5 if WORDS >= OF_AN_HOUR else None
        took, least = statistics.median(ours), statistics.median(best)
        how = f"{WORDS:,} words in {count} passages; the median of {TRANSCRIPTS}"
        return [
            Row(f"search: {WORDS:,} words indexed, words alone", statistics.median(words), "s", detail=how),
            Row(f"search: {WORDS:,} words indexed, with vectors", took, "s", at_most=goal, detail=how),
            Row("search: the bare model for these passages", least, "s", detail="nothing can be faster here"),
            Row("search: indexing, of the bare model's rate", least / took, at_least=0.8),
        ]


_TEXTS = """
SELECT c.chunk_text FROM search_chunks c WHERE c.world_id = $1 AND c.recording_id = $2 ORDER BY c.place
"""


def _transcript(number: int) -> list[Segment]:
    """So much of the shipped English conversations; `number` makes its texts differ from those of others."""
    found: list[str] = []
    left = WORDS
    for each in itertools.cycle(spoken()):
        if not each.text.isascii():
            continue
        text = f"{number + len(found)}: {each.text}"
        found.append(text)
        left -= len(text.split())
        if left <= 0:
            return segments_of(found, 30.0)
    return []


def _p95(found: list[float]) -> float:
    return sorted(found)[int(0.95 * len(found))]


def _rows(end_user_id: str, before: Times | None, after: Times, small: int) -> list[Row]:
    called, own = CALLED[end_user_id], f"{OF[end_user_id]:,}"
    many = f"{own} of {CHUNKS:,} chunks; {ROUNDS * OF_A_ROUND} queries, one at a time"
    rows = [
        Row(f"{called}: p95", after.new, "ms", at_most=50, detail=f"new queries; {many}"),
        Row(f"{called}: p95, query remembered", after.remembered, "ms", detail="its vector is not computed"),
        Row(f"{called}: p95, bare statements", after.bare, "ms", detail="by asyncpg, the same queries"),
        Row(f"{called}: p95, remembered, of the bare", after.remembered / after.bare, at_most=1.5),
        Row(
            f"{called}: p95, of bare model and statements",
            after.new / after.bare_with_model,
            at_most=1.5,
            detail=f"the bare model makes the vector, and asyncpg executes: {after.bare_with_model:.1f} ms",
        ),
        Row(
            f"{called}: p95, of the bare statements",
            after.new / after.bare,
            detail="which has its vector already",
        ),
    ]
    if before is None or not ENOUGH <= CHUNKS < MILLION:
        return rows
    # A line is an upper bound: each part of a statement takes time with the chunks, or less. All else takes
    # the same time however many there are.
    grown = max(0.0, after.bare_median - before.bare_median) / (CHUNKS - small) * (MILLION - CHUNKS)
    how = f"not measured: its median goes on along a line from {small:,} chunks ({before.bare_median:.1f} ms)"
    at_million = Row(
        f"{called}: p95 at {MILLION:,} chunks",
        after.new + grown,
        "ms",
        at_most=50,
        detail=f"{how}; {own} own",
    )
    return [*rows, at_million]


async def _measure(made: Rig, api: Api) -> list[Row]:
    embeddings = Embeddings(api.settings)
    connection: Connection = await asyncpg.connect(str(api.settings.database_url))
    try:
        return await _Bench(made, api, embeddings, connection).rows()
    finally:
        await connection.close()
        await embeddings.aclose()


def measure() -> list[Row]:
    """Times of searches, recall along the index, and the rate of indexing."""
    with embedder() as process, rig() as made:
        api = made.lapel(made.database("search", 20), LAPEL_EMBEDDER_SOCKET=str(process.socket))
        return asyncio.run(_measure(made, api))


if __name__ == "__main__":
    show(measure())
