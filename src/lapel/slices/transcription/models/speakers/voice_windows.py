"""The windows from which voices are embedded. They are short, lie within speech, and overlap by half."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from lapel.slices.transcription.speech.messages import Span

# Seconds. A window is long enough to recognise a voice, and short enough to hold the words of one person.
LENGTH = 1.5
HOP = 0.75
# A shorter stretch of speech does not identify a voice, so it has no window.
SHORTEST = 0.4
# A last window that adds less than this to the window before it is left out.
_NEWS = 0.3
# Steps in a second. Windows begin and end on this grid, as frames of features do.
_GRID = 100


def windows(speech: Iterable[Span]) -> list[Span]:
    """Windows in these stretches of speech, in order, in seconds; each lies within one stretch.

    Most windows are LENGTH long. A stretch shorter than LENGTH has one window of its own length. A stretch
    shorter than SHORTEST has no window. The last window of a stretch ends with the stretch, or less than
    0.3 s before its end. Stretches that overlap count as one stretch.
    """
    return [window for span in apart(speech) for window in _within(*span)]


def apart(speech: Iterable[Span]) -> list[Span]:
    """The stretches in order, in seconds on the grid. Overlapping ones are joined; empty and infinite ones
    are left out."""
    found: list[Span] = []
    for start, end in sorted(span for span in speech if math.isfinite(span[0]) and math.isfinite(span[1])):
        first = max(0, math.ceil(start * _GRID - 1e-6)) / _GRID
        last = math.floor(end * _GRID + 1e-6) / _GRID
        if found and first < found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        elif last > first:
            found.append((first, last))
    return found


def _within(start: float, end: float) -> Iterator[Span]:
    first, last = round(start * _GRID), round(end * _GRID)
    length, hop = round(LENGTH * _GRID), round(HOP * _GRID)
    if last - first < round(SHORTEST * _GRID):
        return
    begin = first
    while last - begin > length:
        yield (begin / _GRID, (begin + length) / _GRID)
        begin += hop
    final = max(first, last - length)
    if begin == first or final - (begin - hop) >= round(_NEWS * _GRID):
        yield (final / _GRID, last / _GRID)
