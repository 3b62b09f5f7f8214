"""Cuts a transcript into chunks, the passages that a search finds.

A chunk ends at the end of a sentence, if possible where the speaker changes, and always where audio is
missing. It begins with the last sentence of the chunk before it, if that is short: an answer and its question
are then in one chunk, although a border lies between them. Every word of the overlap is embedded twice, so
the overlap is small.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.search.passages.sentence_splitting import is_unspaced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lapel.slices.search.passages.sentence_splitting import Sentence

# In words. A chunk ends where the speaker changes, if it has at least `_SOME`; at the next sentence, if it
# would have more than `_MOST` with it.
_SOME = 60
_MOST = 90
# A longer sentence is not repeated.
_LONGEST_REPEATED = 10
# Also a pause of this many milliseconds ends a chunk with at least `_SOME` words.
_PAUSE_MS = 20_000
# The contract's limits, in UTF-16 units.
_LONGEST_TEXT = 4_000
_LONGEST_SPEAKER = 128

_WORD = re.compile(r"\S+")
# Scripts without spaces have about this many characters for a word.
_CHARACTERS_OF_A_WORD = 2


class Chunk(msgspec.Struct, frozen=True):
    """A passage of a transcript. `speaker` is None if it is unknown, or if the chunk has several speakers."""

    text: str
    speaker: str | None
    start_ms: int
    end_ms: int


def chunks_of(sentences: Iterable[Sentence]) -> list[Chunk]:
    """The chunks of a transcript, in order. Every sentence is in one of them, or at a border in two."""
    return [_chunk(group) for group in _groups(sentences)]


def _groups(sentences: Iterable[Sentence]) -> Iterator[list[Sentence]]:
    group: list[Sentence] = []
    size = 0
    is_new = False  # whether the group has a sentence that is in no chunk yet
    for sentence in sentences:
        words = size_in_words(sentence.text)
        if is_new and _ends(group[-1], sentence, size, words):
            yield group
            last = group[-1]
            repeated = size_in_words(last.text)
            is_near = sentence.start_ms - last.end_ms < _PAUSE_MS
            is_near = is_near and not sentence.after_gap
            group, size = ([last], repeated) if is_near and repeated <= _LONGEST_REPEATED else ([], 0)
        group.append(sentence)
        size += words
        is_new = True
    if group:
        yield group


def _ends(last: Sentence, following: Sentence, size: int, words: int) -> bool:
    if following.after_gap or size + words > _MOST:
        return True
    if size < _SOME:
        return False
    return last.speaker != following.speaker or following.start_ms - last.end_ms >= _PAUSE_MS


def size_in_words(text: str) -> int:
    """The number of words; in scripts without spaces, an estimate."""
    words = len(_WORD.findall(text))
    return words if text.isascii() else words + sum(map(is_unspaced, text)) // _CHARACTERS_OF_A_WORD


def _chunk(group: list[Sentence]) -> Chunk:
    parts: list[str] = []
    for sentence in group:
        if parts and not (is_unspaced(parts[-1][-1]) and is_unspaced(sentence.text[0])):
            parts.append(" ")
        parts.append(sentence.text)
    speakers = {sentence.speaker for sentence in group}
    speaker = next(iter(speakers)) if len(speakers) == 1 else None
    start = min(sentence.start_ms for sentence in group)
    return Chunk(
        text=_cut("".join(parts), _LONGEST_TEXT),
        speaker=None if speaker is None else _cut(speaker, _LONGEST_SPEAKER),
        start_ms=start,
        end_ms=max(sentence.end_ms for sentence in group),
    )


def _cut(text: str, most: int) -> str:
    """At most so many UTF-16 units of the text."""
    if len(text) * 2 <= most:
        return text
    return text.encode("utf-16-le")[: 2 * most].decode("utf-16-le", "ignore")
