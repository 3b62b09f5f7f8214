"""Joins words to readable segments: sentences, or the words between two pauses.

The words and their times are faster-whisper's (`word_timestamps`). The rules and limits are Lapel's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from lapel.foundation.text_cleaning import plain
from lapel.slices.transcription.speech.punctuation import CLAUSE_ENDS, SENTENCE_ENDS
from lapel.slices.transcription.speech.transcript import Segment, Word

# All in seconds. A segment ends
# - at a pause of `_PAUSE`;
# - at the end of a sentence, if the segment has at least `_LEAST`;
# - at the end of a clause or at a pause of `_SHORT_PAUSE`, if the segment has at least `_LONG`;
# - after the word with which it reaches `_LONGEST`.
_PAUSE = 0.8
_SHORT_PAUSE = 0.25
_LEAST = 1.5
_LONG = 10.0
_LONGEST = 20.0
# Shortest word; the model may report less.
_BLINK = 0.01

# `Mr.`, `St.`, `e.g.`: the dot after a short word may belong to an abbreviation. The pause after the word
# decides whether the sentence ends.
_MAY_BE_SHORTENED = re.compile(r"^\W*(?:\w{1,3}|(?:\w\.)+\w?)\.$")


class Spoken(msgspec.Struct, frozen=True):
    """A word as the model wrote it, including the space before it if there is one.

    `start` and `end`: in seconds, from a zero that all words share. `confidence`: 0 to 1. `language`: a code
    such as `en`; a segment has one language. `is_doubtful`: it is probably not what was said (doubts.py).
    """

    start: float
    end: float
    text: str
    confidence: float
    language: str
    is_doubtful: bool = False


def segments(spoken: Sequence[Spoken], *, latest: float) -> list[Segment]:
    """The words as segments, in order and not overlapping. No segment ends after `latest` (seconds).

    A segment without a letter or digit is left out.
    """
    words = [word for word in spoken if plain(word.text)]
    timed = [
        msgspec.structs.replace(word, start=start, end=end)
        for word, (start, end) in zip(words, _in_turn(words, latest), strict=True)
    ]
    made = (_segment(group) for group in _groups(timed))
    return [segment for segment in made if any(each.isalnum() for each in segment.text)]


def _in_turn(words: Sequence[Spoken], latest: float) -> list[tuple[float, float]]:
    """Start and end of each word, in seconds. Words are not empty, do not overlap, and end by `latest`."""
    times: list[tuple[float, float]] = []
    earliest = 0.0
    for word in words:
        start = max(word.start, earliest)
        earliest = max(word.end, start + _BLINK)
        times.append((start, earliest))
    for index in range(len(times) - 1, -1, -1):
        start, end = times[index]
        if end <= latest:
            break
        latest, times[index] = min(start, latest - _BLINK), (min(start, latest - _BLINK), latest)
    return [(round(start, 3), round(end, 3)) for start, end in times]


def _groups(words: Sequence[Spoken]) -> Iterator[list[Spoken]]:
    group: list[Spoken] = []
    for word in words:
        if group and _ends(group, word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _ends(group: Sequence[Spoken], following: Spoken) -> bool:
    """Whether the segment ends before `following`."""
    last = group[-1]
    pause, length = following.start - last.end, last.end - group[0].start
    if pause >= _PAUSE or length >= _LONGEST or last.language != following.language:
        return True
    if length < _LEAST:
        return False
    if SENTENCE_ENDS.search(last.text) and (
        pause >= _SHORT_PAUSE or not _MAY_BE_SHORTENED.match(last.text.strip())
    ):
        return True
    return length >= _LONG and (pause >= _SHORT_PAUSE or CLAUSE_ENDS.search(last.text) is not None)


def _segment(group: Sequence[Spoken]) -> Segment:
    words = [
        Word(start=word.start, end=word.end, word=plain(word.text), confidence=word.confidence)
        for word in group
    ]
    return Segment(
        start=words[0].start,
        end=words[-1].end,
        text=plain("".join(word.text for word in group)),
        confidence=round(sum(word.confidence for word in words) / len(words), 4),
        words=words,
    )
