"""Writes and deletes the chunks of transcripts, in the transactions of other slices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.foundation.core.crash_points import crash_point
from lapel.foundation.queue import jobs
from lapel.slices.search.indexing import index_queries, vector_queries
from lapel.slices.search.passages.chunking import chunks_of
from lapel.slices.search.passages.search_words import configuration_of, indexed_words
from lapel.slices.search.passages.sentence_splitting import sentences_of
from lapel.slices.search.payloads import EMBED, EmbedTranscript
from lapel.slices.transcription.service import completed_transcription, segments_of_transcription

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.configuration.service import Configuration
    from lapel.slices.search.passages.chunking import Chunk
    from lapel.slices.search.passages.search_words import IndexedWords
    from lapel.slices.transcription.service import Segment

# Shorter transcripts are cut in the event loop: a hundred segments take about a millisecond.
_FEW_SEGMENTS = 100
_CHUNKS_OF_A_STATEMENT = 500


class TranscriptIndex:
    """The chunks of every recording's current completed transcription."""

    def __init__(self, ports: Ports, configuration: Configuration) -> None:
        self._ports = ports
        self._configuration = configuration

    async def replace(
        self, connection: Connection, world_id: int, _recording_id: str, transcription_id: str, /
    ) -> None:
        """Make a transcript searchable, in the transaction that completes it, in place of an earlier one.

        Does nothing if the recording shows a newer transcription, or is deleted. The caller has locked the
        recording.
        """
        await self._write(connection, world_id, transcription_id, replace=True)
        crash_point("index:written")

    async def add(self, connection: Connection, world_id: int, transcription_id: str) -> bool:
        """Make a transcript searchable unless its recording is in the index. Whether it is now.

        Raises asyncpg.ForeignKeyViolationError when the recording is deleted meanwhile.
        """
        return await self._write(connection, world_id, transcription_id, replace=False)

    async def _write(
        self, connection: Connection, world_id: int, transcription_id: str, *, replace: bool
    ) -> bool:
        found = await completed_transcription(connection, world_id, transcription_id)
        if found is None or not found.is_current:
            return False
        segments = await segments_of_transcription(connection, world_id, transcription_id)
        configuration = configuration_of(found.language)
        chunks = await _cut(segments or [], configuration)
        now = self._ports.clock.now()
        settings = await self._configuration.processing(
            connection, world_id, found.end_user_id, found.device_id
        )
        is_embedded = bool(chunks) and settings["auto_embedding"]["enabled"]
        ids = (found.recording_id, transcription_id, found.end_user_id)
        if not await index_queries.put_transcript(
            connection,
            world_id,
            ids,
            configuration,
            len(chunks),
            embed_at=now if is_embedded else None,
            now=now,
            replace=replace,
        ):
            return False
        # The row's reference to the recording keeps a deletion waiting from here on.
        again = await completed_transcription(connection, world_id, transcription_id)
        if again is None or not again.is_current:
            await index_queries.delete_transcripts(connection, world_id, [found.recording_id])
            return False
        if replace:
            await index_queries.delete_chunks(connection, world_id, [found.recording_id])
        for first in range(0, len(chunks), _CHUNKS_OF_A_STATEMENT):
            part = [
                (self._ports.ids.new("chk"), first + place, chunk, words)
                for place, (chunk, words) in enumerate(chunks[first : first + _CHUNKS_OF_A_STATEMENT])
            ]
            await index_queries.insert_chunks(
                connection, world_id, ids, found.recorded_at, configuration, part
            )
        if is_embedded:
            await jobs.enqueue(connection, EMBED, EmbedTranscript(world_id, found.recording_id))
        return True

    async def rename(self, connection: Connection, world_id: int, recording_id: str, /) -> None:
        """Let the vectors of a recording be computed with its new name, in the transaction that changes it.

        The sweep finds the transcript, so that many changes are one work.
        """
        await vector_queries.rename(connection, world_id, recording_id)

    async def erase_of_recordings(
        self, connection: Connection, world_id: int, recording_ids: list[str]
    ) -> None:
        """Delete all chunks and vectors of deleted recordings, in the deleting transaction.

        Also of recordings that a legal hold keeps: chunks are made from the transcription, which stays.
        """
        await index_queries.delete_transcripts(connection, world_id, recording_ids)


async def _cut(segments: Sequence[Segment], configuration: str) -> list[tuple[Chunk, IndexedWords]]:
    if len(segments) <= _FEW_SEGMENTS:
        return _chunks(segments, configuration)
    return await asyncio.to_thread(_chunks, segments, configuration)


def _chunks(segments: Sequence[Segment], configuration: str) -> list[tuple[Chunk, IndexedWords]]:
    return [(chunk, indexed_words(chunk.text, configuration)) for chunk in chunks_of(sentences_of(segments))]
