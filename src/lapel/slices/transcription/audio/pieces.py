"""Cuts a long recording at silences into pieces that are transcribed one by one."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The longest piece. Pieces should be short, because after a kill a whole piece is transcribed again: if a
# model needs a tenth of the audio's time, five minutes of audio are half a minute of work. Pieces should be
# long, because a cut has a cost (a shorter last window, the lost context of one sentence). Whisper takes 30 s
# at a time, and for a piece of ten or more windows this cost is small.
LONGEST_MS = 300_000
# The shortest piece between two gaps of a damaged file. Whisper needs as long for it as for 30 s.
_SHORTEST_MS = 5_000
# One level is the loudness of this many milliseconds.
LEVEL_MS = 50

_QUIET = 300 // LEVEL_MS  # levels in the stretch whose middle is the cut: a pause, not a stop consonant
_AROUND = 1_500 // LEVEL_MS  # levels around it; they decide between equally quiet stretches
_SILENCE_DB = 127.0  # below full scale: level 0
_POWER = 10.0 ** ((np.arange(256) / 2 - _SILENCE_DB) / 10)


def level(power: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert mean squares of samples (full scale: 1) to levels, in steps of half a decibel; same shape.

    Level 0 is -127 dB and below, level 254 is full scale.
    """
    decibels = 10 * np.log10(np.maximum(power, 1e-20))
    return np.rint(np.clip(decibels + _SILENCE_DB, 0, _SILENCE_DB) * 2).astype(np.uint8)


def cut(levels: bytes, duration_ms: int, *, longest_ms: int = LONGEST_MS) -> list[tuple[int, int]]:
    """Start and end of every piece, in milliseconds, without gaps; each is at most `longest_ms` long.

    A piece ends in the last third of `longest_ms`, in the middle of the quietest 0.3 s. It leaves at least a
    tenth of `longest_ms` for the piece after it. `levels`: one byte for every 50 ms, from `level`.
    `longest_ms`: at least 3,000.
    """
    pieces: list[tuple[int, int]] = []
    start = 0
    while duration_ms - start > longest_ms:
        latest = min(start + longest_ms, duration_ms - longest_ms // 10)
        end = _quietest(levels, start + longest_ms * 2 // 3, latest)
        pieces.append((start, end))
        start = end
    pieces.append((start, duration_ms))
    return pieces


def cut_at_gaps(
    levels: bytes, duration_ms: int, gaps: list[int], *, longest_ms: int = LONGEST_MS
) -> list[tuple[int, int]]:
    """As `cut`, and also at each of the `gaps` (milliseconds, in order), so that no model hears over one.

    Except where a piece would be so short that the file would cost much more work than others of its length.
    """
    edges = [0]
    for gap in gaps:
        if gap - edges[-1] >= _SHORTEST_MS and duration_ms - gap >= _SHORTEST_MS:
            edges.append(gap)
    edges.append(duration_ms)
    return [
        (start + begin, start + end)
        for start, stop in pairwise(edges)
        for begin, end in cut(levels[start // LEVEL_MS :], stop - start, longest_ms=longest_ms)
    ]


def _quietest(levels: bytes, earliest_ms: int, latest_ms: int) -> int:
    """The middle of the quietest stretch between two times, in ms.

    If several stretches are equally quiet, the quietest surroundings decide.
    """
    first, last = -(-earliest_ms // LEVEL_MS), latest_ms // LEVEL_MS
    power = _POWER[np.frombuffer(levels, np.uint8)[first:last]]
    near = np.convolve(power, np.ones(_QUIET), "valid")
    quietest = np.flatnonzero(near <= near.min() * (1 + 1e-9))
    # Beyond the edges the signal counts as loud, so that a cut there gains nothing.
    padded = np.pad(power, _AROUND // 2, constant_values=1.0)
    # Weights fall with the distance, so that the middle of a long silence is quieter than its ends.
    around = np.convolve(padded, np.bartlett(_QUIET + _AROUND // 2 * 2 + 2)[1:-1], "valid")
    best = quietest[np.argmin(around[quietest])]
    return int(first + best + _QUIET // 2) * LEVEL_MS
