"""The parts of transcripts that an answer is made from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import NotFound, PayloadTooLarge
from lapel.slices.ask.composing.passages import Passage, of_found, of_whole_transcript
from lapel.slices.ask.questions.timed_scope import limited_to_time
from lapel.slices.recordings.service import find_mentioned
from lapel.slices.search.service import Sentence, sentences_of
from lapel.slices.transcription.errors import TranscriptNotReady
from lapel.slices.transcription.service import bytes_of_transcription, segments_of_transcription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.ask.questions.asked_question import AskedQuestion
    from lapel.slices.recordings.service import MentionedRow
    from lapel.slices.search.service import FoundPassage, Search
    from lapel.slices.transcription.service import Segment

# A transcript of more bytes, its words with their times included, is not read as a whole.
MAX_TRANSCRIPT_BYTES = 24 * 2**20
_ROWS = 12
# The weight of a place in a list of results, as in reciprocal rank fusion.
_RANK = 60

NOT_READY = "The recording has no completed transcription yet. Ask again when there is one."


class Retrieval:
    """Reads and searches transcripts. Methods raise Unavailable while the database is unavailable."""

    def __init__(self, ports: Ports, search: Search) -> None:
        self._ports = ports
        self._search = search

    async def limited(self, asked: AskedQuestion) -> tuple[AskedQuestion, str | None]:
        """The question about the recordings of the time that it names, and what it is told at once: their
        number, or that there are none."""
        async with self._ports.database.acquire() as connection:
            return await limited_to_time(connection, asked)

    async def whole(self, asked: AskedQuestion, *, most_bytes: int) -> list[Passage]:
        """The whole transcript of the one recording of a session; none if it has more bytes than
        `most_bytes`, its words with their times included.

        Raises NotFound when the recording is gone, TranscriptNotReady when it has no completed transcription,
        PayloadTooLarge when the transcript is too large to be read as a whole.
        """
        async with self._ports.database.acquire() as connection:
            recording = await self._only(connection, asked)
            transcription_id = recording.transcription_id
            if transcription_id is None:
                raise TranscriptNotReady(NOT_READY)
            size = await bytes_of_transcription(connection, asked.world_id, transcription_id)
            if size is not None and size > MAX_TRANSCRIPT_BYTES:
                raise PayloadTooLarge(
                    f"The transcript of this recording has more than {MAX_TRANSCRIPT_BYTES // 2**20} MiB. "
                    "Ask in a session about selected recordings: it reads only the parts that a search finds."
                )
            if size is not None and size > most_bytes:
                return []
            segments = await segments_of_transcription(connection, asked.world_id, transcription_id)
        if segments is None:
            raise TranscriptNotReady(NOT_READY)
        return of_whole_transcript(recording, await asyncio.to_thread(sentences_of, segments))

    async def _only(self, connection: Connection, asked: AskedQuestion) -> MentionedRow:
        found = await find_mentioned(connection, asked.world_id, asked.recording_ids, asked.end_user_id)
        if not found:
            raise NotFound("The recording of this session is deleted.")
        return found[0]

    async def found(self, asked: AskedQuestion) -> list[Passage]:
        """The parts that a search finds for the question, best first."""
        return await self._passages(asked, await self._rows(asked))

    async def _rows(self, asked: AskedQuestion) -> list[FoundPassage]:
        only = None if asked.scope_type == "library" else asked.recording_ids
        scores: dict[str, float] = {}
        rows: dict[str, FoundPassage] = {}
        for query in asked.queries:
            if not query.strip():
                continue
            found = await self._search.search(
                asked.world_id,
                asked.end_user_id,
                query,
                recording_ids=only,
                after=asked.after,
                before=asked.before,
                limit=_ROWS,
            )
            for rank, row in enumerate(found):
                rows[row.chunk_id] = row
                scores[row.chunk_id] = scores.get(row.chunk_id, 0) + 1 / (_RANK + rank)
        best = sorted(rows, key=lambda each: -scores[each])[:_ROWS]
        return [rows[each] for each in best]

    async def _passages(self, asked: AskedQuestion, rows: Sequence[FoundPassage]) -> list[Passage]:
        ids = {row.recording_id for row in rows}
        async with self._ports.database.acquire() as connection:
            mentioned = await find_mentioned(connection, asked.world_id, sorted(ids), asked.end_user_id)
        recordings = {each.id: each for each in mentioned}
        there = [row for row in rows if row.recording_id in recordings]  # not deleted meanwhile
        sentences: dict[str, list[Sentence]] = {}
        for each in {row.transcription_id for row in there}:
            of_transcript = [row for row in there if row.transcription_id == each]
            sentences |= await self._sentences(asked.world_id, each, of_transcript)
        return [
            of_found(number, row, recordings[row.recording_id], sentences[row.chunk_id])
            for number, row in enumerate(there, start=1)
        ]

    async def _sentences(
        self, world_id: int, transcription_id: str, rows: Sequence[FoundPassage]
    ) -> dict[str, list[Sentence]]:
        """The sentences of found parts of one transcript, by chunk; none of a transcript that is too large.

        One transcript is in memory at a time.
        """
        async with self._ports.database.acquire() as connection:
            size = await bytes_of_transcription(connection, world_id, transcription_id)
            segments: list[Segment] | None = None
            if size is not None and size <= MAX_TRANSCRIPT_BYTES:
                segments = await segments_of_transcription(connection, world_id, transcription_id)
        return {row.chunk_id: _sentences_within(row, segments or []) for row in rows}


def _sentences_within(found: FoundPassage, segments: Sequence[Segment]) -> list[Sentence]:
    """The sentences of a found part: to split whole transcripts would take longer than the search."""
    first, last = found.start_ms / 1000, found.end_ms / 1000
    return sentences_of([each for each in segments if each.start < last and each.end > first])
