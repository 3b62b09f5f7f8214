"""Assigns speakers to words, and splits segments where the speaker changes. Pure computation, no I/O.

The windows come from models/speakers/voice_windows.py, and their speakers from clustering.py. The rules that
assign words to speakers are Lapel's own.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from lapel.slices.transcription.speech.messages import Groups, Span
from lapel.slices.transcription.speech.punctuation import CLAUSE_ENDS, SENTENCE_ENDS
from lapel.slices.transcription.speech.segmentation import ends_in_text
from lapel.slices.transcription.speech.transcript import Segment, Word

# Seconds. `_SLACK`: how far outside the centres of two windows a turn may lie, because the times of words are
# inexact. `_STRAY`: a single word of this length or less, between words of other speakers, counts as a
# mistake.
_SLACK: Final = 0.2
_STRAY: Final = 0.6
# Seconds. Shortest part of a segment.
_BLINK: Final = 0.001


def with_speakers(segments: Sequence[Segment], groups: Groups) -> list[Segment]:
    """The segments with speakers, split where the speaker changes.

    The speakers are SPEAKER_0, SPEAKER_1, … in the order in which they speak. `segments`, and the words of
    each segment, must be in order. A word belongs to the speaker at its middle; near a turn, to the speaker
    of the rest of its sentence. A segment without words belongs to the speaker who speaks longest in it. Each
    part of a split segment has its part of the segment's text, and the mean confidence of its words. If
    `groups` has no windows, the segments stay as they are.
    """
    if not groups.windows:
        return list(segments)
    voices = _Voices(groups)
    words = [_Said(word, index) for index, segment in enumerate(segments) for word in segment.words or ()]
    of_segment: defaultdict[int, list[int]] = defaultdict(list)
    for said, label in zip(words, _labels(words, voices), strict=True):
        of_segment[said.segment].append(label)
    names: dict[int, str] = {}
    told: list[Segment] = []
    for index, segment in enumerate(segments):
        labels = of_segment.get(index) or [voices.most((segment.start, segment.end))]
        for part, label in _parts(segment, labels):
            name = names.setdefault(label, f"SPEAKER_{len(names)}")
            told.append(msgspec.structs.replace(part, speaker=name))
    return told


class _Said(msgspec.Struct, frozen=True):
    """A word, and the index of its segment."""

    word: Word
    segment: int

    @property
    def middle(self) -> float:
        return (self.word.start + self.word.end) / 2


class _Voices:
    """The windows, sorted by their centres. The window with the nearest centre decides who speaks at a time:
    windows overlap by half, and a window describes its middle best."""

    def __init__(self, groups: Groups) -> None:
        by_centre = sorted(zip(groups.windows, groups.labels, strict=True), key=lambda pair: sum(pair[0]))
        self.windows = [window for window, _ in by_centre]
        self.labels = [label for _, label in by_centre]
        self._limits = [_limit(left, right) for left, right in itertools.pairwise(self.windows)]

    def index(self, time: float) -> int:
        """Index of the window that decides who speaks at a time, in seconds."""
        return bisect_left(self._limits, time)

    def most(self, span: Span) -> int:
        """Label of the speaker who speaks longest in a span."""
        seconds: defaultdict[int, float] = defaultdict(float)
        start, end = min(span), max(span)
        first, last = self.index(start), self.index(end)
        edges = [start, *self._limits[first:last], end]
        for offset, label in enumerate(self.labels[first : last + 1]):
            seconds[label] += edges[offset + 1] - edges[offset]
        return max(seconds, key=lambda label: seconds[label])

    def turn(self, before: int, after: int) -> tuple[float, Span]:
        """The likeliest time of the first change of voice between two windows, and the span of all changes
        between them."""
        changes = [
            index + 1 for index in range(before, after) if self.labels[index] != self.labels[index + 1]
        ]
        first, last = changes[0], changes[-1]
        since, _ = self._change(first)
        _, until = self._change(last)
        return self._limits[first - 1], (since, until)

    def _change(self, index: int) -> Span:
        """The span in which the voice of window `index` takes over from the window before."""
        left, right = self.windows[index - 1], self.windows[index]
        # A window is labelled by the voice that fills most of it, so the change lies between the two centres.
        return sum(left) / 2 - _SLACK, sum(right) / 2 + _SLACK


def _limit(left: Span, right: Span) -> float:
    """The time from which the right window decides who speaks.

    If the windows overlap, it is midway between their centres; else it is the middle of the gap.
    """
    return (sum(left) + sum(right)) / 4 if right[0] < left[1] else (left[1] + right[0]) / 2


def _labels(words: Sequence[_Said], voices: _Voices) -> list[int]:
    """The speaker's label of each word."""
    heard = [voices.index(said.middle) for said in words]
    runs = list(_runs([voices.labels[index] for index in heard]))
    labels: list[int] = []
    for run, following in itertools.zip_longest(runs, runs[1:]):
        label = voices.labels[heard[run[0]]]
        end = len(words) if following is None else _turn(words, heard, voices, len(labels), following)
        labels += [label] * (end - len(labels))
    for first, last in list(_runs(labels)):
        if _is_stray(words, first, last):
            labels[first] = _owner(words, labels, first)
    return labels


def _turn(
    words: Sequence[_Said], heard: Sequence[int], voices: _Voices, earliest: int, following: tuple[int, int]
) -> int:
    """Index of the first word of the next speaker, after `earliest`.

    According to the windows, this is the first word of the run `following`. But people take turns after a
    sentence or in a pause, so a word nearby may fit better.
    """
    place, latest = following[0], following[1] - 1
    left, right = heard[place - 1], heard[place]
    if left >= right:  # the words are not in order
        return place
    expected, (since, until) = voices.turn(left, right)
    low = high = place
    while low - 1 > earliest and _gap(words, low - 1) >= since:
        low -= 1
    while high < latest and _gap(words, high + 1) <= until:
        high += 1
    return max(
        range(low, high + 1),
        key=lambda at: (_merit(words, at) - abs(_gap(words, at) - expected), -abs(at - place)),
    )


def _gap(words: Sequence[_Said], at: int) -> float:
    """The middle of the gap before word `at`, in seconds."""
    return (words[at - 1].word.end + words[at].word.start) / 2


def _merit(words: Sequence[_Said], at: int) -> float:
    """How well a turn fits before word `at`, in seconds. A merit of 1 outweighs a distance of one second from
    the expected time."""
    last, following = words[at - 1].word, words[at].word
    merit = 0.0
    if SENTENCE_ENDS.search(last.word):
        merit = 0.8
    elif CLAUSE_ENDS.search(last.word):
        merit = 0.2
    return merit + max(0.0, min(following.start - last.end, 0.6))


def _runs(labels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First index and last index + 1 of each run of equal labels."""
    first = 0
    for place in range(1, len(labels) + 1):
        if place == len(labels) or labels[place] != labels[first]:
            yield first, place
            first = place


def _is_stray(words: Sequence[_Said], first: int, last: int) -> bool:
    """Whether a run of words is too little for a turn: one short word, not a sentence, between other runs."""
    if first == 0 or last == len(words) or last - first > 1:
        return False
    word = words[first].word
    alone = SENTENCE_ENDS.search(words[first - 1].word.word) and SENTENCE_ENDS.search(word.word)
    return not alone and word.end - word.start <= _STRAY


def _owner(words: Sequence[_Said], labels: Sequence[int], at: int) -> int:
    """The label for a stray word: the label of the side to which its sentence belongs, else of the nearer
    side."""
    return labels[at - 1] if _merit(words, at) <= _merit(words, at + 1) else labels[at + 1]


def _parts(segment: Segment, labels: Sequence[int]) -> Iterator[tuple[Segment, int]]:
    runs = list(_runs(labels))
    if len(runs) == 1 or not segment.words:
        yield segment, labels[0]
        return
    words = list(segment.words)
    texts = _texts(segment.text, words, runs)
    start = segment.start
    for (first, last), text in zip(runs, texts, strict=True):
        mine = words[first:last]
        begin = start if first == 0 else max(start, mine[0].start)
        end = segment.end if last == len(words) else mine[-1].end
        part = msgspec.structs.replace(
            segment,
            start=begin,
            end=max(end, begin + _BLINK),
            text=text,
            words=mine,
            confidence=round(sum(word.confidence for word in mine) / len(mine), 4),
        )
        yield part, labels[first]


def _texts(text: str, words: list[Word], runs: Sequence[tuple[int, int]]) -> list[str]:
    """The text of each run of words, cut from the segment's text. If the text does not consist of the words,
    the words of each run are joined instead."""
    ends = ends_in_text(text, words)
    if ends:
        cuts = [0, *(ends[last - 1] for _, last in runs[:-1]), len(text)]
        return [text[left:right].strip() for left, right in itertools.pairwise(cuts)]
    space = " " if " " in text.strip() else ""
    return [space.join(word.word for word in words[first:last]) for first, last in runs]
