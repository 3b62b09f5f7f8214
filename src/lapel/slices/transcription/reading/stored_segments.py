"""The segments of a completed transcription, decoded for other slices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.transcription.reading import segment_queries
from lapel.slices.transcription.speech.transcript import Segment

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.slices.transcription.reading.segment_queries import CompletedPlace, CompletedTranscription

# Longer JSON is decoded in a thread: 64 KiB take less than a millisecond.
_SHORT = 64 * 1024

_decode = msgspec.json.Decoder(list[Segment]).decode


async def segments_of_transcription(
    connection: Connection, world_id: int, transcription_id: str, *, with_words: bool = True
) -> list[Segment] | None:
    """The segments of a completed transcription, ordered by start; None if there is no such transcription.

    Checks no caller: the caller of this function has checked who may read the transcription. `with_words`:
    also the words and their times, if they are known; without them the segments need a tenth of the memory.
    """
    stored = await segment_queries.read_segments(
        connection, world_id, transcription_id, with_words=with_words
    )
    if stored is None:
        return None
    if len(stored) <= _SHORT:
        return _decode(stored)
    return await asyncio.to_thread(_decode, stored)


async def language_of_transcription(
    connection: Connection, world_id: int, transcription_id: str
) -> str | None:
    """The language tag of a completed transcription; None if it is unknown. Checks no caller."""
    return await segment_queries.read_language(connection, world_id, transcription_id)


async def completed_transcription(
    connection: Connection, world_id: int, transcription_id: str
) -> CompletedTranscription | None:
    """A completed transcription and its recording; None if there is none, or its recording is deleted.

    Checks no caller.
    """
    return await segment_queries.read_completed(connection, world_id, transcription_id)


async def completed_transcriptions(
    connection: Connection, after: tuple[int, str], limit: int
) -> list[CompletedPlace]:
    """At most `limit` completed transcriptions of all worlds, those after `after` (world and id), in order.

    For jobs that look after all worlds. Begin with (0, "").
    """
    return await segment_queries.list_completed(connection, after, limit)
