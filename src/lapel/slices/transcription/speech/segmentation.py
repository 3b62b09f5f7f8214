"""Cuts long segments where a reader would pause.

The method is Lapel's own. A long segment is cut at the best place in its middle half: the end of a sentence
or of a clause, or a pause. The parts are cut again, until every part is short enough.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from lapel.slices.transcription.speech.punctuation import CLAUSE_ENDS, SENTENCE_ENDS
from lapel.slices.transcription.speech.transcript import Segment, Word

LONGEST = 30.0  # seconds: a longer subtitle or search hit is useless

_SHORTEST = 0.001  # seconds

# Text without spaces is cut after this many characters if there is no better place.
_UNSPACED = 40
_ATOM = re.compile(rf"[^\s。！？、，；：]{{1,{_UNSPACED}}}[。！？、，；：]*|[。！？、，；：]+")


class _Atom(msgspec.Struct, frozen=True):
    """A word, which is never cut. `start` and `end`: in seconds.

    `ends_at`: where the word ends in the segment's text; -1 if the text does not consist of the words.
    """

    start: float
    end: float
    text: str
    ends_at: int
    word: Word | None


_Cut: TypeAlias = tuple[int, int]


def shortened(segment: Segment) -> list[Segment]:
    """The segment in parts of at most `LONGEST` seconds, cut at the ends of sentences and at pauses.

    If the times of the words are unknown, the times of the parts are estimated from the length of their text.
    If a single word seems to last longer than `LONGEST`, it is given an earlier end.
    """
    if segment.end - segment.start <= LONGEST:
        return [segment]
    atoms = _words(segment) or _estimated(segment)
    found: list[_Cut] = []
    waiting = [(0, len(atoms))]
    while waiting:
        first, last = waiting.pop()
        if last - first > 1 and atoms[last - 1].end - atoms[first].start > LONGEST:
            middle = _best_cut(atoms, first, last)
            waiting += [(middle, last), (first, middle)]
        else:
            found.append((first, last))
    return [_part(segment, atoms, cut) for cut in found]


def split_at(segment: Segment, times: Sequence[float]) -> list[Segment]:
    """The segment in parts, of which none spans one of the `times` (seconds, in order).

    A word that spans a time belongs to the side on which most of it lies, and ends or begins at this time.
    """
    inner = [time for time in times if segment.start < time < segment.end]
    if not inner:
        return [segment]
    atoms = _words(segment) or _estimated(segment)
    parts: list[Segment] = []
    first, start = 0, segment.start
    for time in [*inner, math.inf]:
        last = first
        while last < len(atoms) and (atoms[last].start + atoms[last].end) / 2 < time:
            last += 1
        end = min(time, segment.end)
        if last > first:
            part = _part(segment, atoms, (first, last))
            parts.append(_between(part, start, max(end, start + _SHORTEST)))
        first, start = last, end
    return parts


def _between(part: Segment, start: float, end: float) -> Segment:
    """The part with its times, and those of its words, limited to this stretch."""
    begin = min(max(part.start, start), end - _SHORTEST)
    words = [
        msgspec.structs.replace(
            word, start=min(max(word.start, begin), end), end=min(max(word.end, begin), end)
        )
        for word in part.words or ()
    ]
    return msgspec.structs.replace(
        part,
        start=begin,
        end=min(max(part.end, begin + _SHORTEST), end),
        words=words or msgspec.UNSET,
    )


def _best_cut(atoms: list[_Atom], first: int, last: int) -> int:
    """The best place to cut the atoms `first` to `last`: before the atom with this index.

    The cut is in the middle half of the time. If no atom begins there, it is nearest to the middle.
    """
    start, span = atoms[first].start, atoms[last - 1].end - atoms[first].start

    def from_middle(index: int) -> float:
        boundary = (atoms[index - 1].end + atoms[index].start) / 2
        return abs((boundary - start) / span - 0.5)

    def merit(index: int) -> float:
        before = atoms[index - 1]
        good = 0.0
        if SENTENCE_ENDS.search(before.text):
            good = 3.0
        elif CLAUSE_ENDS.search(before.text):
            good = 1.0
        pause = atoms[index].start - before.end
        return good + 2 * max(0.0, min(pause, 1.5)) - from_middle(index)

    central = [index for index in range(first + 1, last) if from_middle(index) <= 0.25]
    return max(central, key=merit) if central else min(range(first + 1, last), key=from_middle)


def _part(segment: Segment, atoms: list[_Atom], cut: _Cut) -> Segment:
    first, last = cut
    begins_at = atoms[first - 1].ends_at if first else 0
    ends_at = atoms[last - 1].ends_at if last < len(atoms) else len(segment.text)
    start = atoms[first].start
    latest = round(start + LONGEST, 3)
    words = [each.word for each in atoms[first:last] if each.word is not None]
    if atoms[first].ends_at < 0:  # the text does not consist of the words
        text = (" " if " " in segment.text else "").join(word.word for word in words)
    else:
        text = segment.text[begins_at:ends_at].strip()
    return msgspec.structs.replace(
        segment,
        start=start,
        end=min(atoms[last - 1].end, latest),
        text=text,
        words=[_within(word, latest) for word in words] or msgspec.UNSET,
    )


def _within(word: Word, end: float) -> Word:
    return word if word.end <= end else msgspec.structs.replace(word, end=end)


def _words(segment: Segment) -> list[_Atom]:
    if not segment.words:
        return []
    places = ends_in_text(segment.text, segment.words) or [-1] * len(segment.words)
    return [
        _Atom(word.start, word.end, word.word, place, word)
        for word, place in zip(segment.words, places, strict=True)
    ]


def ends_in_text(text: str, words: list[Word]) -> list[int]:
    """The end of each word in the text, including its punctuation. Empty if text and words differ."""
    begins: list[int] = []
    at = 0
    for word in words:
        found = text.find(word.word, at)
        if found < 0 or any(each.isalnum() for each in text[at:found]):
            return []
        begins.append(found)
        at = found + len(word.word)
    if any(each.isalnum() for each in text[at:]):
        return []
    # Characters between two words, up to the first space, belong to the word before.
    between = zip(words, begins, [*begins[1:], len(text)], strict=True)
    return [
        begin + len(word.word) + len(text[begin + len(word.word) : following].partition(" ")[0])
        for word, begin, following in between
    ]


def _estimated(segment: Segment) -> list[_Atom]:
    """Words with estimated times, as if every character took the same time."""
    each = (segment.end - segment.start) / len(segment.text)
    return [
        _Atom(
            round(segment.start + found.start() * each, 3),
            round(segment.start + found.end() * each, 3),
            found[0],
            found.end(),
            None,
        )
        for found in _ATOM.finditer(segment.text)
    ]
