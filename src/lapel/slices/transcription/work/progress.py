"""The progress of a transcription as one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lapel.slices.transcription.payloads import STAGES, Stage

# Each stage's share of the time, as measured with the base model on two cores (docs/performance.md).
_COST: dict[Stage, float] = {"probe": 0.02, "transcribe": 0.81, "diarize": 0.16, "finish": 0.01}
_ALMOST = 0.999


def overall(stage: Stage, share: float, *, diarization: bool = True) -> float:
    """Progress of the whole transcription, 0 to 1, when `share` (0 to 1) of a stage's audio is done.

    The progress is 1 only at the end of `finish`. It depends only on these arguments, so it falls if `share`
    falls; `Progress` prevents that. `diarization`: whether the local models diarize.
    """
    costs = {each: cost for each, cost in _COST.items() if diarization or each != "diarize"}
    before = sum(cost for each, cost in costs.items() if STAGES.index(each) < STAGES.index(stage))
    share = 0.0 if math.isnan(share) else min(max(share, 0.0), 1.0)
    if stage == "finish" and share == 1:
        return 1.0
    done = (before + share * costs.get(stage, 0.0)) / sum(costs.values())
    return min(round(done, 4), _ALMOST)


def share_of_audio(pieces: Sequence[tuple[int, int]], index: int, share: float) -> float:
    """The share of all pieces that is done, 0 to 1, when `share` of `pieces[index]` is done.

    `pieces`: start and end of each piece, in ms. All pieces before `index` are done.
    """
    total = sum(end - start for start, end in pieces)
    if not total:
        return 1.0
    done = sum(end - start for start, end in pieces[:index])
    if index < len(pieces):
        done += min(max(share, 0.0), 1.0) * (pieces[index][1] - pieces[index][0])
    return done / total


class Progress:
    """Takes stages and shares in any order, and reports only progress that does not fall.

    `tell` is called with the stage and the progress of the whole, 0 to 1: if the progress has grown, or if it
    is the same and the stage is a later one.
    """

    def __init__(self, tell: Callable[[Stage, float], None], *, diarization: bool = True) -> None:
        self._tell = tell
        self._diarization = diarization
        self._furthest = (-1.0, -1)

    def __call__(self, stage: Stage, share: float) -> None:
        """Call this when `share` of the stage's audio is done."""
        place = (overall(stage, share, diarization=self._diarization), STAGES.index(stage))
        if place > self._furthest:
            self._furthest = place
            self._tell(stage, place[0])
