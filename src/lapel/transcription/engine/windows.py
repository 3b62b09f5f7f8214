"""Speech packed into windows of at most 30 s, which is what Whisper hears at once, and times led back.

Long silences are shortened, so that few windows suffice; short pauses stay as they are, since they tell
where sentences end.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 16_000
LONGEST = 30 * RATE

# What is kept of a silence on either side of speech. Whisper wants to hear words begin and end.
_MARGIN = int(0.3 * RATE)
# Where speech without a pause has to be cut: at the quietest so much in the last third of the window.
_QUIET = int(0.03 * RATE)

# Start and end in samples of the piece.
Run: TypeAlias = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Stretches of the piece that are heard in one go, in order."""

    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return sum(end - start for start, end in self.runs)

    def samples(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is heard: the runs, joined."""
        return np.concatenate([piece[start:end] for start, end in self.runs])

    def times(self, start: float, end: float) -> tuple[float, float]:
        """From seconds in the window to seconds in the piece. A word lies in one run, that of its middle."""
        ends = list(self._ends())
        index = min(bisect.bisect(ends, int((start + end) / 2 * RATE)), len(ends) - 1)
        first, last = self.runs[index]
        before = ends[index] - (last - first)
        at, till = (min(max(first + seconds * RATE - before, first), last) for seconds in (start, end))
        return at / RATE, till / RATE

    def after(self, seconds: float) -> Window | None:
        """What is left of it after a time in the piece; None if nothing is."""
        since = int(seconds * RATE)
        runs = tuple((max(start, since), end) for start, end in self.runs if end > since)
        return Window(runs) if runs else None

    def _ends(self) -> Iterator[int]:
        total = 0
        for start, end in self.runs:
            total += end - start
            yield total


def pack(speech: Sequence[Run], piece: NDArray[np.float32]) -> list[Window]:
    """Windows that hold all speech (ordered, not overlapping), about equally long.

    They end in pauses; in the longest near the end of what they may hold.
    """
    runs = [short for run in _widened(speech, len(piece)) for short in _shortened(run, piece)]
    windows: list[Window] = []
    first = 0
    while first < len(runs):
        last = _fitting(runs, first)
        if last < len(runs):
            last = _at_a_pause(runs, first, last)
        windows.append(Window(_joined(runs[first:last])))
        first = last
    return windows


def _widened(speech: Sequence[Run], length: int) -> list[Run]:
    """Each with a margin; those that meet share what is between them."""
    wide: list[Run] = []
    for index, (start, end) in enumerate(speech):
        before = (speech[index - 1][1] + start) // 2 if index else 0
        after = (end + speech[index + 1][0]) // 2 if index + 1 < len(speech) else length
        wide.append((max(start - _MARGIN, before), min(end + _MARGIN, after)))
    return wide


def _shortened(run: Run, piece: NDArray[np.float32]) -> Iterator[Run]:
    """The run in parts that fit into a window, cut where it is quietest."""
    start, end = run
    while end - start > LONGEST:
        from_here = start + LONGEST * 2 // 3
        power = np.square(piece[from_here : start + LONGEST])
        loud = np.convolve(power, np.ones(_QUIET, np.float32), "valid")
        cut = from_here + int(np.argmin(loud)) + _QUIET // 2
        yield start, cut
        start = cut
    yield start, end


def _fitting(runs: Sequence[Run], first: int) -> int:
    """The index after the last run that fits into the window that begins with `first`."""
    total = 0
    for index in range(first, len(runs)):
        total += runs[index][1] - runs[index][0]
        if total > LONGEST:
            return index
    return len(runs)


def _at_a_pause(runs: Sequence[Run], first: int, last: int) -> int:
    """Where a window that could hold first..last ends: at the longest pause of its last third."""
    total, best, longest = 0, last, -1
    for index in range(first, last):
        total += runs[index][1] - runs[index][0]
        pause = runs[index + 1][0] - runs[index][1]
        if total >= LONGEST * 2 // 3 and pause >= longest:
            best, longest = index + 1, pause
    return best


def _joined(runs: Sequence[Run]) -> tuple[Run, ...]:
    joined: list[Run] = []
    for start, end in runs:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)
