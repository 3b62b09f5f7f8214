"""Exports of long transcripts: made from slices of what is stored, in turns."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from collections.abc import Iterator
from itertools import repeat

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.exports.formats import FORMATS, FormatName
from lapel.slices.transcription.exports.streaming import StoredSegments, Turns
from lapel.slices.transcription.speech.transcript import Segment
from tests.transcription.exports.support import documents, segment

LIKE_AN_END = segment(0, 1, '"}]},{"start":[]', words=[(0, 1, ']},{"start":"\\'), (0, 1, "🙂")])


def sliced(stored: bytes, size: int) -> StoredSegments:
    return StoredSegments(lambda place: stored[place : place + size])


@settings(max_examples=60, deadline=None)
@given(documents, st.integers(1, 300))
@example(Document(title="x", segments=[]), 1)
@example(Document(title="x", segments=[LIKE_AN_END] * 2), 1)
def test_from_slices_of_any_size_come_the_segments_that_are_stored(document: Document, size: int) -> None:
    segments = list(document.tidy().segments)
    stored = msgspec.json.encode(segments)
    found = sliced(stored, size)
    assert list(found) == segments
    assert list(found) == segments, "each time"
    with pytest.raises(ValueError, match="without an end"):
        list(sliced(stored[:-1], size))


class Generated:
    """Segments that are made as they are read."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __iter__(self) -> Iterator[Segment]:
        return (segment(at, at + 0.9, "Yes, and no.", f"SPEAKER_{at % 2}") for at in range(self._number))


def held(name: FormatName, segments: int) -> int:
    """The most bytes that were held while so many segments were exported."""
    tracemalloc.start()
    try:
        for _ in FORMATS[name].pieces(Document(title="x", segments=Generated(segments))):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", FORMATS)
def test_a_longer_transcript_holds_no_more_memory(name: FormatName) -> None:
    short = max(held(name, 20) for _ in range(2))  # the first time, libraries are loaded
    assert held(name, 1_500) < short + 200 * 1024  # what the interpreter keeps by the way


async def test_exports_are_made_in_turns_and_off_the_loop() -> None:
    turns, loop = Turns(), threading.get_ident()
    ended: list[int] = []

    def pieces(number: int, length: int) -> Iterator[bytes]:
        for _ in range(length):
            assert threading.get_ident() != loop
            time.sleep(0)  # other threads run meanwhile, as during real work
            yield b"%d" % number * 1000
        ended.append(number)

    async def read(number: int, length: int) -> bytes:
        chunks = await turns.chunks(1, pieces(number, length))
        return b"".join([chunk async for chunk in chunks])

    lengths = [5_000, 5_000, 1_000, 0]
    found = await asyncio.gather(*(read(number, length) for number, length in enumerate(lengths)))
    assert found == [b"%d" % number * 1000 * length for number, length in enumerate(lengths)]
    assert ended[:2] == [3, 2], "the long ones, though asked for first, keep nobody"


async def test_many_exports_of_one_world_keep_another_world_waiting_for_one_turn_at_most() -> None:
    turns = Turns()
    ended: list[int] = []

    async def read(world_id: int, length: int) -> None:
        async for _ in await turns.chunks(world_id, repeat(bytes(64 * 1024), length)):
            pass
        ended.append(world_id)

    await asyncio.gather(*(read(1, 5) for _ in range(20)), read(2, 10))
    # In its ten turns the first world has about as many: enough for a few of its exports, and not for all.
    assert ended.index(2) < 10


async def test_what_is_raised_in_the_first_turn_is_raised_before_anything_is_answered() -> None:
    def broken() -> Iterator[bytes]:
        yield b"begun"
        raise LookupError("the database is away")

    with pytest.raises(LookupError):
        await Turns().chunks(1, broken())
