"""Packs the speech of a piece into windows of at most 30 s (Whisper's input length).

It also maps times in a window to times in the piece.

Long silences are shortened, so that few windows suffice. Short pauses stay as they are, because they show
where sentences end. Compare "VAD Cut & Merge" in Bain et al., "WhisperX: Time-Accurate Speech Transcription
of Long-Form Audio", Interspeech 2023 (arXiv:2303.00747).
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

# Samples of silence that are kept before and after speech, because Whisper needs to hear words begin and end.
_MARGIN = int(0.3 * RATE)
# Speech without a pause is cut in the last third of a window: in the quietest stretch of this many samples.
_QUIET = int(0.03 * RATE)

# Start and end in samples of the piece.
Run: TypeAlias = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Stretches of the piece that are transcribed together, in order. `len`: samples in all of them.

    `language`: a code that Whisper knows.
    """

    runs: tuple[Run, ...]
    language: str

    def __len__(self) -> int:
        return sum(end - start for start, end in self.runs)

    def samples(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """The runs, joined: 1-D float32. `piece`: all samples of the piece, 16 kHz, mono."""
        return np.concatenate([piece[start:end] for start, end in self.runs])

    def times(self, start: float, end: float) -> tuple[float, float]:
        """Map a word's times from seconds in the window to seconds in the piece.

        The word is placed in one run: the run that contains the word's middle.
        """
        ends = list(self._ends())
        index = min(bisect.bisect(ends, int((start + end) / 2 * RATE)), len(ends) - 1)
        first, last = self.runs[index]
        before = ends[index] - (last - first)
        at, till = (min(max(first + seconds * RATE - before, first), last) for seconds in (start, end))
        return at / RATE, till / RATE

    def after(self, seconds: float) -> Window | None:
        """The rest of the window after a time in the piece, in seconds; None if there is no rest."""
        since = int(seconds * RATE)
        runs = tuple((max(start, since), end) for start, end in self.runs if end > since)
        return Window(runs, self.language) if runs else None

    def _ends(self) -> Iterator[int]:
        total = 0
        for start, end in self.runs:
            total += end - start
            yield total


def pack(speech: Sequence[Run], languages: Sequence[str], piece: NDArray[np.float32]) -> list[Window]:
    """Windows that together hold all speech, each in one language; those of the same language in order.

    If possible, a window ends at the longest pause after its first 20 s. `speech`: in samples of `piece`,
    ordered and not overlapping. `languages`: one for each run. `piece`: 1-D float32, 16 kHz, mono.
    """
    wide = _widened(speech, len(piece))
    return [
        Window(_joined(runs), language)
        for language in dict.fromkeys(languages)
        for runs in _packed([run for run, its in zip(wide, languages, strict=True) if its == language], piece)
    ]


def _packed(wide: Sequence[Run], piece: NDArray[np.float32]) -> Iterator[Sequence[Run]]:
    runs = [short for run in wide for short in _shortened(run, piece)]
    first = 0
    while first < len(runs):
        last = _fitting(runs, first)
        if last < len(runs):
            last = _at_a_pause(runs, first, last)
        yield runs[first:last]
        first = last


def _widened(speech: Sequence[Run], length: int) -> list[Run]:
    """Each run with a margin on both sides. If the margins of two neighbours would meet, they share the
    gap."""
    wide: list[Run] = []
    for index, (start, end) in enumerate(speech):
        before = (speech[index - 1][1] + start) // 2 if index else 0
        after = (end + speech[index + 1][0]) // 2 if index + 1 < len(speech) else length
        wide.append((max(start - _MARGIN, before), min(end + _MARGIN, after)))
    return wide


def _shortened(run: Run, piece: NDArray[np.float32]) -> Iterator[Run]:
    """The run in parts that fit into a window, cut at the quietest places."""
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
    """The index after the last run that fits into a window whose first run is `first`."""
    total = 0
    for index in range(first, len(runs)):
        total += runs[index][1] - runs[index][0]
        if total > LONGEST:
            return index
    return len(runs)


def _at_a_pause(runs: Sequence[Run], first: int, last: int) -> int:
    """The end index of a window that could hold the runs `first` to `last`: at the longest pause in the last
    third."""
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
