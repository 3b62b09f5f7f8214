"""One number from stages and shares: it only grows, and only the end is 1."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.transcription.work.progress import STAGES, Progress, Stage, overall, share_of_audio

ANY = st.floats(allow_nan=True, allow_infinity=True)
PIECES = st.lists(st.integers(1, 600_000), min_size=1, max_size=8)


@given(diarization=st.booleans(), first=ANY, second=ANY, stage=st.sampled_from(STAGES))
def test_a_stage_lies_between_its_neighbours(
    diarization: bool, first: float, second: float, stage: Stage
) -> None:
    low, high = sorted(0.0 if math.isnan(share) else share for share in (first, second))
    done = [overall(stage, share, diarization=diarization) for share in (0, low, high, 1)]
    assert done == sorted(done)
    assert done[0] >= 0
    assert (done[-1] == 1) == (stage == "finish")
    for earlier in STAGES[: STAGES.index(stage)]:
        assert overall(earlier, 1, diarization=diarization) <= done[0]


@given(said=st.lists(st.tuples(st.sampled_from(STAGES), ANY)), diarization=st.booleans())
def test_what_is_told_never_falls(said: list[tuple[Stage, float]], diarization: bool) -> None:
    told: list[tuple[float, int]] = []
    progress = Progress(lambda stage, done: told.append((done, STAGES.index(stage))), diarization=diarization)
    for stage, share in [*said, ("finish", 1.0)]:
        progress(stage, share)
    assert told == sorted(set(told))
    assert told[-1] == (1, STAGES.index("finish"))


def test_without_speakers_the_words_are_nearly_everything() -> None:
    assert overall("transcribe", 1) < 0.9 < overall("transcribe", 1, diarization=False)
    assert overall("probe", 0) == 0


@given(lengths=PIECES, share=st.floats(0, 1))
def test_pieces_count_by_their_length(lengths: list[int], share: float) -> None:
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    pieces = list(zip([0, *ends], ends, strict=False))
    done = [share_of_audio(pieces, index, share) for index in range(len(pieces))]
    assert done == sorted(done)
    assert done[0] == pytest.approx(share * lengths[0] / ends[-1])
    assert share_of_audio(pieces, len(pieces), 0) == share_of_audio(pieces, len(pieces) - 1, 1) == 1


def test_nothing_at_all_is_done() -> None:
    assert share_of_audio([], 0, 0) == 1
