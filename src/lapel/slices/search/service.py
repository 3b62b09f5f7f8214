"""Search in transcripts: by words and by meaning."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.foundation.core.admission import Admission, NoRoom
from lapel.foundation.core.clock import timestamp_or_none
from lapel.foundation.core.errors import InvalidRequest, NotFound, Unavailable
from lapel.slices.search import queries
from lapel.slices.search.indexing.transcript_index import TranscriptIndex
from lapel.slices.search.indexing.vector_queries import VectorsWaitingRow, measure_waiting
from lapel.slices.search.indexing.vector_work import numbers
from lapel.slices.search.nearest_queries import find_nearest
from lapel.slices.search.passages.search_words import terms_of
from lapel.slices.search.passages.sentence_ends import QUESTION_MARKS, SENTENCE_MARKS, sentence_ends
from lapel.slices.search.passages.sentence_splitting import LONGEST_SENTENCE, Sentence, sentences_of
from lapel.slices.search.queries import SearchFilters
from lapel.slices.search.question_mean import without_common_part
from lapel.slices.search.rank_fusion import joined
from lapel.slices.search.wire import USUAL_RESULTS, FoundPassage, SearchResults
from lapel.slices.search.word_queries import find_by_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.ports import Ports
    from lapel.slices.embeddings.service import Embeddings
    from lapel.slices.search.nearest_queries import Nearness, NearRow
    from lapel.slices.search.queries import ChunkRow, ExtentRow
    from lapel.slices.search.wire import SearchRecordings
    from lapel.slices.search.word_queries import WordsRow

__all__ = [
    "LONGEST_SENTENCE",
    "QUESTION_MARKS",
    "SENTENCE_MARKS",
    "FoundPassage",
    "Search",
    "Sentence",
    "TranscriptIndex",
    "VectorsWaitingRow",
    "measure_waiting",
    "sentence_ends",
    "sentences_of",
]

# An end user with at most so many chunks has each vector compared, so none is missed. For one with more, the
# index takes less time.
MOST_EXACT = 25_000
# If recordings are given, those of an end user with more chunks are looked up, and the others are not read.
MOST_PASSED_OVER = 8_000
# Searches that one process makes at once, and the seconds for which another one waits: less than the time in
# which a request must be answered.
_AT_ONCE, _PATIENCE = 6, 8.0


class Search:
    """Finds passages of an end user's transcripts.

    Methods raise Unavailable when the database is away, or when too many searches wait.
    """

    def __init__(self, ports: Ports, embeddings: Embeddings) -> None:
        self._ports = ports
        self._embeddings = embeddings
        # As for answers to questions (`Composer`): the searches of one project hold up no other's.
        self._searching = Admission(_AT_ONCE, None, patience=_PATIENCE)

    async def answer(self, actor: Actor, body: SearchRecordings) -> SearchResults:
        """The answer to a request.

        Raises InvalidRequest when no end user is given or implied, and NotFound when the caller reaches no
        such end user.
        """
        own = actor.end_user_id if actor.kind in ("key", "end_user") else None
        asked = body.end_user_id or own
        if asked is None:
            raise InvalidRequest("`end_user_id` is required.", param="end_user_id", reason="required")
        if own is not None and asked != own:
            raise _unknown()
        found = await self._found_in_turn(
            (actor.world_id, asked),
            body.query,
            SearchFilters(body.recording_ids, body.recorded_after, body.recorded_before),
            body.limit,
        )
        if found is None:
            raise _unknown()
        return SearchResults(results=found)

    async def search(
        self,
        world_id: int,
        end_user_id: str,
        query: str,
        *,
        recording_ids: Sequence[str] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        limit: int = USUAL_RESULTS,
    ) -> list[FoundPassage]:
        """The best passages for a query, best first; at most `limit`, at most 50.

        `recording_ids`: only these recordings; None: all of the end user. `after` (inclusive) and `before`
        (exclusive) limit the recordings' `recorded_at`. Without the embedding model, the search is by words
        alone. Checks no caller: the caller of this method has checked who may read the end user's data.
        """
        only = None if recording_ids is None else list(recording_ids)
        filters = SearchFilters(only, after, before)
        return await self._found_in_turn((world_id, end_user_id), query, filters, limit) or []

    async def _found_in_turn(
        self, owner: tuple[int, str], query: str, filters: SearchFilters, limit: int
    ) -> list[FoundPassage] | None:
        try:
            async with self._searching.place(owner[0]):
                return await self._found(owner, query, filters, limit)
        except NoRoom:
            raise Unavailable(
                "Too many searches are being made for this project. Search again.", retry_after=2
            ) from None

    async def _found(
        self, owner: tuple[int, str], query: str, filters: SearchFilters, limit: int
    ) -> list[FoundPassage] | None:
        """See `search`. `owner`: world and end user; None when there is no such end user.

        The words are looked up while the vector is computed and compared.
        """
        vector = asyncio.create_task(self._embeddings.query(query))
        try:
            async with self._ports.database.acquire() as connection:
                extent = await queries.extent(connection, *owner)
            if not any(row.chunks for row in extent):
                return [] if extent else None
            by_words, nearest = await asyncio.gather(
                self._by_words(owner, filters, extent, query),
                self._by_meaning(owner, filters, extent, vector),
            )
        finally:
            vector.cancel()
        scores = joined(by_words, nearest, limit)
        if not scores:
            return []
        async with self._ports.database.acquire() as connection:
            found = {row.chunk_id: row for row in await queries.read_chunks(connection, owner, list(scores))}
        return [_passage(found[each], score) for each, score in scores.items() if each in found]

    async def _by_words(
        self, owner: tuple[int, str], filters: SearchFilters, extent: Sequence[ExtentRow], query: str
    ) -> list[WordsRow]:
        terms = terms_of(query)
        if not terms:
            return []
        async with self._ports.database.acquire() as connection:
            return await find_by_words(connection, owner, filters, extent, terms)

    async def _by_meaning(
        self,
        owner: tuple[int, str],
        filters: SearchFilters,
        extent: Sequence[ExtentRow],
        coming: asyncio.Task[bytes | None],
    ) -> list[NearRow]:
        vector, model = await coming, self._embeddings.model
        if vector is None or model is None:
            return []
        near = nearness(
            sum(row.chunks for row in extent),
            are_chosen=filters.recording_ids is not None,
            are_dated=filters.after is not None or filters.before is not None,
        )
        own = without_common_part(numbers([vector]), model)
        database = self._ports.database
        async with database.transaction() if near == "index" else database.acquire() as connection:
            return await find_nearest(connection, owner, filters, extent, near, own, model)


def nearness(chunks: int, *, are_chosen: bool, are_dated: bool) -> Nearness:
    """How to compare vectors, for an end user with so many chunks.

    `are_chosen`: the recordings are given. `are_dated`: their time is limited. A walk along the index might
    end before it meets one of them.
    """
    if are_chosen and chunks > MOST_PASSED_OVER:
        return "recordings"
    return "end_user" if are_dated or chunks <= MOST_EXACT else "index"


def _passage(row: ChunkRow, score: float) -> FoundPassage:
    return FoundPassage(
        chunk_id=row.chunk_id,
        recording_id=row.recording_id,
        transcription_id=row.transcription_id,
        chunk_text=row.chunk_text,
        speaker=row.speaker,
        start_ms=row.start_ms,
        end_ms=row.end_ms,
        recorded_at=timestamp_or_none(row.recorded_at),
        score=score,
    )


def _unknown() -> NotFound:
    return NotFound("There is no end user with this `end_user_id`.", param="end_user_id")
