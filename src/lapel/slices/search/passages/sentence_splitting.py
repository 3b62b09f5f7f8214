"""Splits a transcript into sentences with their times.

A sentence ends at a mark such as `.`, `?`, `。` or `؟`, but not at an abbreviation, an initial or a decimal
point. It also ends where the speaker changes, where audio is missing, and at a pause. Text without marks
(Thai, or a provider that writes none) ends at the borders of segments, and at spaces.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.written_text import is_unspaced
from lapel.slices.search.passages.sentence_ends import sentence_ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lapel.slices.transcription.service import Segment

LONGEST_SENTENCE = 300
"""The most characters of a sentence. A longer one is cut."""

# A segment that ends without a mark goes on in the next segment of the same speaker, unless the pause between
# them has this many seconds, or the sentence has this many characters.
_PAUSE = 0.6
_LONG = 200

_CLAUSE = re.compile("[,;:،，、；：—–][\"'”’»)\\]」』）]*\\s?")
_WORD_OF_TEXT = re.compile(r"\w")


class Sentence(msgspec.Struct, frozen=True):
    """A sentence of one speaker, without surrounding spaces; 1 to `LONGEST_SENTENCE` characters.

    Times in milliseconds from the start of the recording; `start_ms` ≤ `end_ms`. `after_gap`: audio is
    missing before it.
    """

    text: str
    speaker: str | None
    start_ms: int
    end_ms: int
    after_gap: bool = False


def sentences_of(segments: Iterable[Segment]) -> list[Sentence]:
    """All sentences of a transcript, in the order of the segments.

    A time is that of the words, if the segment has words that match its text. Otherwise it is estimated, as
    if every character of the segment took the same time. Call this in a thread for long transcripts.
    """
    return [sentence for turn in _stretches(segments) for sentence in _split_at_marks(turn)]


def _split_at_marks(turn: _Stretch) -> Iterator[Sentence]:
    for number, sentence in enumerate(_sentences(turn)):
        is_first = turn.after_gap and number == 0
        yield msgspec.structs.replace(sentence, after_gap=True) if is_first else sentence


@dataclass(slots=True)
class _Stretch:
    """Consecutive segments of one speaker, joined.

    `begins`: the places in the text at which a timed piece begins, in order. `ends`, `times`: the place at
    which it ends, and start and end in seconds. `borders`: the pause before each further segment, by the
    segment's first place.
    """

    speaker: str | None
    text: str = ""
    begins: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    times: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    borders: dict[int, float] = field(default_factory=dict[int, float])
    after_gap: bool = False

    def start_ms(self, place: int) -> int:
        """The time at which the character at `place` begins."""
        index = self._piece(place)
        if place >= self.ends[index] and index + 1 < len(self.begins):
            return _milliseconds(self.times[index + 1][0])  # before the next word, such as at a bracket
        return self._time(index, place)

    def end_ms(self, place: int) -> int:
        """The time at which the character before `place` ends."""
        return self._time(self._piece(place - 1), place)

    def _piece(self, place: int) -> int:
        """The last timed piece that begins at `place` or before it."""
        return max(bisect_right(self.begins, place) - 1, 0)

    def _time(self, index: int, place: int) -> int:
        begin, end, (start, ended) = self.begins[index], self.ends[index], self.times[index]
        share = min(max((place - begin) / max(end - begin, 1), 0.0), 1.0)
        return _milliseconds(start + (ended - start) * share)


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 0)


def _stretches(segments: Iterable[Segment]) -> Iterator[_Stretch]:
    pending: list[Segment] = []
    for segment in segments:
        if not segment.text.strip():
            continue
        if pending and (_speaker(pending[-1]) != _speaker(segment) or segment.after_gap):
            yield _joined(pending)
            pending = []
        pending.append(segment)
    if pending:
        yield _joined(pending)


def _speaker(segment: Segment) -> str | None:
    return segment.speaker or None


def _joined(segments: list[Segment]) -> _Stretch:
    turn = _Stretch(_speaker(segments[0]), after_gap=segments[0].after_gap)
    parts: list[str] = []
    place = 0
    before: Segment | None = None
    for segment in segments:
        if before is not None:
            if not (is_unspaced(before.text[-1]) and is_unspaced(segment.text[0])):
                parts.append(" ")
                place += 1
            turn.borders[place] = segment.start - before.end
        for begin, end, times in _timed(segment):
            turn.begins.append(place + begin)
            turn.ends.append(place + end)
            turn.times.append(times)
        parts.append(segment.text)
        place += len(segment.text)
        before = segment
    turn.text = "".join(parts)
    return turn


def _timed(segment: Segment) -> list[tuple[int, int, tuple[float, float]]]:
    """The words' places in the text with their times; the whole segment if they are not known."""
    whole = [(0, len(segment.text), (segment.start, segment.end))]
    found: list[tuple[int, int, tuple[float, float]]] = []
    at = 0
    for word in segment.words or ():
        begin = segment.text.find(word.word, at)
        if begin < 0 or begin - at > len(word.word) + 8 or _WORD_OF_TEXT.search(segment.text, at, begin):
            return whole
        at = begin + len(word.word)
        found.append((begin, at, (word.start, max(word.end, word.start))))
    if _WORD_OF_TEXT.search(segment.text, at):
        return whole
    return found or whole


def _sentences(turn: _Stretch) -> Iterator[Sentence]:
    begin = 0
    for end in _ends(turn):
        for first, last in _short(turn, begin, end):
            part = turn.text[first:last]
            text = part.strip()
            if text:
                place = first + len(part) - len(part.lstrip())
                start = turn.start_ms(place)
                yield Sentence(text, turn.speaker, start, max(turn.end_ms(place + len(text)), start))
        begin = end


def _ends(turn: _Stretch) -> Iterator[int]:
    """The places at which sentences end, in order; the last one is the end of the text."""
    text, begin = turn.text, 0
    marks = set(sentence_ends(text))
    for place in sorted(marks | turn.borders.keys()):
        if place in marks or turn.borders[place] >= _PAUSE or place - begin >= _LONG:
            yield place
            begin = place
    yield len(text)


def _short(turn: _Stretch, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The text from `begin` to `end` in parts of at most `LONGEST_SENTENCE` characters."""
    while end - begin > LONGEST_SENTENCE:
        cut = _cut(turn, begin)
        yield begin, cut
        begin = cut
    yield begin, end


def _cut(turn: _Stretch, begin: int) -> int:
    """The best place to cut a long sentence: a segment's border, a comma, a space, between two characters."""
    text, earliest, latest = turn.text, begin + LONGEST_SENTENCE // 2, begin + LONGEST_SENTENCE
    borders = [place for place in range(latest, earliest, -1) if place in turn.borders]
    if borders:
        return borders[0]
    clauses = [found.end() for found in _CLAUSE.finditer(text, earliest, latest)]
    if clauses:
        return clauses[-1]
    space = text.rfind(" ", earliest, latest)
    if space > 0:
        return space + 1
    for place in range(latest, earliest, -1):
        if not _belongs_to_last(text[place]) and text[place - 1] != "\u200d":
            return place
    return latest


def _belongs_to_last(character: str) -> bool:
    """Whether the character changes the one before it: a combining mark, a joiner, a skin tone."""
    return (
        unicodedata.category(character).startswith("M")
        or character in "\u200c\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )
