"""Exports of transcripts that are too long for memory: read, rendered and sent in small parts.

The stored JSON is decoded part by part with `codecs.getincrementaldecoder` and `json.JSONDecoder.raw_decode`
(Python's documentation of `codecs` and `json`).
"""

from __future__ import annotations

import asyncio
import codecs
import json
import math
import re
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.admission import Admission
from lapel.slices.transcription.speech.transcript import Segment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

SLICE = 512 * 1024
"""The most bytes of stored segments that are read at once. A smaller transcript is exported whole."""

# A turn ends after this many bytes or seconds.
_CHUNK = 64 * 1024
_TURN = 0.05
# Exports that run at the same time: while one waits for the database, the other is rendered.
_AT_ONCE = 2

_BETWEEN = re.compile(r"[\[,\s]*")


@dataclass(frozen=True, slots=True)
class StoredSegments:
    """The segments of a transcript, decoded as they are read.

    `read(place)` returns at most `SLICE` bytes of the stored JSON array, from byte `place` on. At the end of
    the array, it returns no bytes. `read` may block. Its exceptions end the iteration.
    """

    read: Callable[[int], bytes]

    def __iter__(self) -> Iterator[Segment]:
        """Every segment, in order; each iteration reads the stored bytes again.

        Raises ValueError when the stored bytes are not a whole array, and whatever `read` raises.
        """
        decode = codecs.getincrementaldecoder("utf-8")().decode
        parse = json.JSONDecoder().raw_decode
        text, at, place = "", 0, 0
        while piece := self.read(place):
            place += len(piece)
            text, at = text[at:] + decode(piece), 0
            while True:
                at = _end(text, at)
                try:
                    found, at = parse(text, at)
                except json.JSONDecodeError:
                    break  # the segment continues in the next slice
                yield msgspec.convert(found, Segment)
        if text[at:].strip() != "]":
            raise ValueError(f"the stored segments end at byte {place} without an end")


def _end(text: str, at: int) -> int:
    between = _BETWEEN.match(text, at)
    return at if between is None else between.end()


class Turns:
    """Runs many exports in turns, in threads. The next turn goes to the world with the fewest running turns.
    Among equals, it goes to the export that has waited longest."""

    def __init__(self) -> None:
        self._free = Admission(_AT_ONCE, _AT_ONCE, patience=math.inf)

    async def chunks(self, world_id: int, pieces: Iterator[bytes]) -> AsyncGenerator[bytes]:
        """The pieces, joined to one chunk for each turn. The first turn is done inside this call, so its
        exceptions are raised here."""
        rest = self._rest(world_id, pieces)
        first = await anext(rest, b"")

        async def whole() -> AsyncGenerator[bytes]:
            async with aclosing(rest):
                if first:
                    yield first
                async for chunk in rest:
                    yield chunk

        return whole()

    async def _rest(self, world_id: int, pieces: Iterator[bytes]) -> AsyncGenerator[bytes]:
        more = True
        while more:
            async with self._free.place(world_id):
                chunk, more = await asyncio.to_thread(_turn, pieces)
            if chunk:
                yield chunk


def _turn(pieces: Iterator[bytes]) -> tuple[bytes, bool]:
    """The bytes of one turn, and whether there may be more."""
    made = bytearray()
    until = time.monotonic() + _TURN
    for piece in pieces:
        made += piece
        if len(made) >= _CHUNK or time.monotonic() >= until:
            return bytes(made), True
    return bytes(made), False
