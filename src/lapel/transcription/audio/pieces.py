"""Where a long recording is cut, so that its pieces can be transcribed one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What a killed worker does again is one piece at most, and this is how fine progress is told: at a tenth of
# real time five minutes are half a minute of work. Whisper hears 30 s at a time, so that ten windows or
# more per piece keep what a cut costs (a shorter last window, the context of one sentence) small.
LONGEST_MS = 300_000
# A level tells how loud so many milliseconds are.
LEVEL_MS = 50

_QUIET = 300 // LEVEL_MS  # levels in the stretch that is cut in its middle: a pause, not a stop consonant
_AROUND = 1_500 // LEVEL_MS  # levels around it that decide between stretches that are equally quiet
_SILENCE_DB = 127.0  # below full scale: level 0
_POWER = 10.0 ** ((np.arange(256) / 2 - _SILENCE_DB) / 10)


def level(power: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Mean squares of samples (full scale: 1) in steps of half a decibel; 0 is silence, 254 full scale."""
    decibels = 10 * np.log10(np.maximum(power, 1e-20))
    return np.rint(np.clip(decibels + _SILENCE_DB, 0, _SILENCE_DB) * 2).astype(np.uint8)


def cut(levels: bytes, duration_ms: int, *, longest_ms: int = LONGEST_MS) -> list[tuple[int, int]]:
    """Start and end of every piece, in milliseconds, without gaps: each `longest_ms` long at most.

    A piece ends amid the quietest 0.3 s of the last third that it may have; but nothing is left over that
    is shorter than a tenth of the longest. `levels`: of every 50 ms, from `level`. At least 3 s per piece.
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


def _quietest(levels: bytes, earliest_ms: int, latest_ms: int) -> int:
    """The middle of the quietest stretch between two times; of equal ones, the one with most quiet around."""
    first, last = -(-earliest_ms // LEVEL_MS), latest_ms // LEVEL_MS
    power = _POWER[np.frombuffer(levels, np.uint8)[first:last]]
    near = np.convolve(power, np.ones(_QUIET), "valid")
    quietest = np.flatnonzero(near <= near.min() * (1 + 1e-9))
    # Beyond the edges there is nothing to hear, and thus no reason to go there.
    padded = np.pad(power, _AROUND // 2, constant_values=1.0)
    # The nearer, the more it counts, so that the middle of a long silence is quieter than its ends.
    around = np.convolve(padded, np.bartlett(_QUIET + _AROUND // 2 * 2 + 2)[1:-1], "valid")
    best = quietest[np.argmin(around[quietest])]
    return int(first + best + _QUIET // 2) * LEVEL_MS
