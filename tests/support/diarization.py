"""The three parts of the diarization error rate (DER), counted in steps of 10 ms, without a collar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Start and end in seconds, and the speaker.
Turn = tuple[float, float, str]
_STEPS = 100


@dataclass(frozen=True)
class Errors:
    """Shares of the reference's speech: `missed`, `false_alarm` (speech where there is none), `confused`."""

    missed: float
    false_alarm: float
    confused: float

    @property
    def rate(self) -> float:
        """The diarization error rate, DER."""
        return self.missed + self.false_alarm + self.confused


def errors(reference: Sequence[Turn], found: Sequence[Turn]) -> Errors:
    """Errors of `found` against `reference`. Names of speakers may differ: the best pairing counts."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  # slow, and every test process imports this module

    steps = round(max(end for _, end, _ in [*reference, *found]) * _STEPS) + 1
    true, told = _speaking(reference, steps), _speaking(found, steps)
    together = true.astype(np.int64) @ told.T.astype(np.int64)
    rows, columns = linear_sum_assignment(together, maximize=True)
    right = int(together[rows, columns].sum())
    true_count, told_count = true.sum(axis=0), told.sum(axis=0)
    total = int(true_count.sum())
    return Errors(
        missed=int(np.maximum(0, true_count - told_count).sum()) / total,
        false_alarm=int(np.maximum(0, told_count - true_count).sum()) / total,
        confused=(int(np.minimum(true_count, told_count).sum()) - right) / total,
    )


def _speaking(turns: Sequence[Turn], steps: int) -> NDArray[np.bool_]:
    names = sorted({name for _, _, name in turns})
    found = np.zeros((max(1, len(names)), steps), bool)
    for start, end, name in turns:
        found[names.index(name), round(start * _STEPS) : round(end * _STEPS)] = True
    return found
