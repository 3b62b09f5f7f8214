"""Subtitles: cues of at most two lines, one after the other, as SubRip and WebVTT.

Source of WebVTT: the W3C's "WebVTT: The Web Video Text Tracks Format". SubRip has no formal specification.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left, bisect_right
from collections import deque
from itertools import accumulate, chain
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lapel.slices.transcription.exports.content import joined
from lapel.slices.transcription.exports.wrapping import LINE, Piece, columns, fitting, lines, pieces
from lapel.slices.transcription.speech.doubt_warnings import WORDS_IN_DOUBT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapel.foundation.timed_warnings import TimedWarning
    from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.speech.transcript import Segment, Word

# Milliseconds. A cue stays until its speech has ended and its text can be read (17 columns a second), for at
# least `_READABLE` and at most `_LONGEST`. If the next cue begins earlier, the cue ends there. But each cue
# has a shortest time: its speech or half of its reading time, at least `_SHORTEST` and at most `_READABLE`.
# If a cue needs this time, for example because a provider gives many words the same time, the next cue is
# delayed.
_SHORTEST = 100
_READABLE = 1000
_LONGEST = 7000
_COLUMNS_PER_SECOND = 17
# A pause, in seconds, in which no cue should stay.
_PAUSE = 1.0
# Columns of two lines that are filled on average: fewer than all, because words rarely end where lines end.
_FILLED = LINE * 2 - 8
# Text that readers of SubRip take for the arrow of a timing line.
_ARROW = re.compile("-[ -] *>")


class Cue(NamedTuple):
    """One or two lines on the screen; times in milliseconds."""

    start: int
    end: int
    lines: list[str]
    speaker: str | None


def srt(document: Document) -> Iterator[bytes]:
    """SubRip: numbered cues of plain text. The format has no place for speakers and comments."""
    blocks = (
        f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues(document, arrow="→"), 1)
    )
    return joined("\n", blocks)


def vtt(document: Document) -> Iterator[bytes]:
    """WebVTT: the speaker of each cue is its voice (`<v>`). A comment has the warnings."""
    told = "\n".join(each.message.replace("-->", "→") for each in document.warnings)
    head = ("WEBVTT\n", f"NOTE\n{told}\n") if told else ("WEBVTT\n",)
    return joined("\n", chain(head, map(_voiced, cues(document))))


def _voiced(cue: Cue) -> str:
    text = html.escape("\n".join(cue.lines), quote=False)
    if cue.speaker:
        text = f"<v {html.escape(cue.speaker, quote=False)}>{text}</v>"
    return f"{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}\n{text}\n"


def cues(document: Document, arrow: str | None = None) -> Iterator[Cue]:
    """The cues in the order of the text; they do not overlap, and each has text and a length.

    `arrow` replaces `-->` in the text.
    """
    waiting: Cue | None = None
    free = 0
    for cue in _raw(document, arrow):
        if waiting:
            waiting = _placed(waiting, free, cue.start)
            free = waiting.end
            yield waiting
        waiting = cue
    if waiting:
        yield _placed(waiting, free, None)


def _placed(cue: Cue, free: int, following: int | None) -> Cue:
    """The cue with its final times. It starts at `free` or later and, if possible, ends by `following`.

    `free`: end of the cue before. `following`: start of the next cue. Both in milliseconds.
    """
    spoken = cue.end - cue.start
    start = max(cue.start, free)
    reading = sum(map(columns, cue.lines)) * 1000 // _COLUMNS_PER_SECOND
    wanted = max(cue.end, start + max(reading, _READABLE))
    end = min(wanted, start + _LONGEST)
    if following is not None:
        end = min(end, following)
    least = min(max(spoken, reading // 2, _SHORTEST), _READABLE)
    return cue._replace(start=start, end=max(end, start + least))


def _raw(document: Document, arrow: str | None) -> Iterator[Cue]:
    """The cues with the times of their speech. These cues may overlap."""
    # Words in doubt are spoken, so a cue has them already.
    notes = deque(each for each in document.notes() if each.code != WORDS_IN_DOUBT)
    for segment in document.segments:
        while notes and (notes[0].start_ms or 0) <= segment.start * 1000:
            yield _note(notes.popleft())
        text = segment.text
        if arrow:
            text = _ARROW.sub(arrow, text)
        times = _Times(segment, text)
        row = pieces(text, times.word_starts)
        speaker = document.speaker(segment)
        for begin, end in _runs(row, times):
            for first, last in _cuts(row, begin, end, times):
                part = row[first:last]
                start = round(times.start(part[0].first) * 1000)
                stop = round(times.end(part[-1].last) * 1000)
                yield Cue(start, max(start, stop), lines(part), speaker)
    yield from map(_note, notes)


def _note(warning: TimedWarning) -> Cue:
    """A short cue where audio is missing: the viewer sees that the talk jumps here or breaks off."""
    at = warning.start_ms or 0
    missing = (
        "audio missing" if not warning.missing_ms else f"{warning.missing_ms / 1000:.1f} s of audio missing"
    )
    return Cue(at, at, [f"[{missing}]"], None)


def _runs(row: list[Piece], times: _Times) -> Iterator[tuple[int, int]]:
    """The stretches between pauses, as index ranges of `row`."""
    begin = 0
    for place in range(1, len(row) if times.known else 0):
        if times.start(row[place].first) - times.end(row[place - 1].last) >= _PAUSE:
            yield begin, place
            begin = place
    yield begin, len(row)


def _cuts(row: list[Piece], begin: int, end: int, times: _Times) -> Iterator[tuple[int, int]]:
    """Cuts the stretch into parts that fit on the screen: about equally long, preferably whole sentences."""
    sums = list(accumulate((each.columns + each.spaced for each in row[begin:end]), initial=0))
    offset = begin
    finish = times.end(row[end - 1].last)
    while begin < end:
        start = times.start(row[begin].first)
        limit = fitting(row, begin, end)
        before = sums[begin - offset]
        # Text that fits on one line is not cut for its duration. Without pauses, such a text lasts long only
        # if its times are guessed.
        while (
            sums[limit - offset] - before > LINE and times.end(row[limit - 1].last) - start > _LONGEST / 1000
        ):
            limit -= 1
        if limit < end:
            left = sums[-1] - before
            by_time = min(ceil((finish - start) * 1000 / _LONGEST), ceil(left / LINE))
            aim = before + left / max(2, ceil(left / _FILLED), by_time)
            limit = min(
                range(begin + 1, limit + 1),
                key=lambda cut: abs(sums[cut - offset] - aim) - 18 * row[cut - 1].ending,
            )
        yield begin, limit
        begin = limit


class _Times:
    """The time at which each character of a segment's text is spoken: from its words, or evenly distributed.

    A place counts characters without spaces. If the text was corrected later, it does not consist of the
    words any more. Then the words' places are stretched or shrunk to the length of the text.
    """

    def __init__(self, segment: Segment, text: str) -> None:
        self._from, self._to = segment.start, segment.end
        words: list[Word] = [] if segment.words is msgspec.UNSET else segment.words
        spoken = [each.word.replace(" ", "") for each in words]
        self._words = words
        self.known = bool(words)  # else times are distributed evenly, without a pause
        self._begins = list(accumulate(map(len, spoken), initial=0))
        letters = text.replace(" ", "")
        total = self._begins.pop()
        self._scale = (total or 1) / len(letters)
        self.word_starts: frozenset[int] = frozenset()
        if "".join(spoken) == letters:
            self.word_starts = frozenset(self._begins)
        self._total = total

    def start(self, place: int) -> float:
        """The time at which the character at this place begins, in seconds."""
        at = place * self._scale
        return self._at(bisect_right(self._begins, at) - 1, at)

    def end(self, place: int) -> float:
        """The time at which the character before this place ends, in seconds."""
        at = place * self._scale
        return self._at(bisect_left(self._begins, at) - 1, at)

    def _at(self, number: int, at: float) -> float:
        if not self._words:
            return self._from + (self._to - self._from) * at
        number = max(number, 0)
        word = self._words[number]
        begin = self._begins[number]
        after = self._begins[number + 1] if number + 1 < len(self._begins) else self._total
        share = min((at - begin) / (after - begin), 1.0)
        return min(max(word.start + (word.end - word.start) * share, self._from), self._to)


def _stamp(milliseconds: int, point: str) -> str:
    seconds, thousandth = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{thousandth:03}"
