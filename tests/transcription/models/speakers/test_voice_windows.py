"""Windows over speech."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.transcription.models.speakers.voice_windows import HOP, LENGTH, SHORTEST, apart, windows
from lapel.slices.transcription.speech.messages import Span


@pytest.mark.parametrize(
    ("speech", "expected"),
    [
        ([], []),
        ([(1.0, 1.3)], []),
        ([(1.0, 1.4)], [(1.0, 1.4)]),
        ([(1.0, 2.5)], [(1.0, 2.5)]),
        ([(1.0, 2.7)], [(1.0, 2.5)]),
        ([(1.0, 3.0)], [(1.0, 2.5), (1.5, 3.0)]),
        ([(0.0, 3.75)], [(0.0, 1.5), (0.75, 2.25), (1.5, 3.0), (2.25, 3.75)]),
        ([(2.0, 2.9), (0.0, 1.0)], [(0.0, 1.0), (2.0, 2.9)]),
        ([(0.0, 1.0), (0.5, 1.5), (1.5, 2.2)], [(0.0, 1.5), (1.5, 2.2)]),
        ([(-1.0, 0.5), (5.0, 4.0), (3.0, 3.0)], [(0.0, 0.5)]),
        ([(math.nan, 2.0), (0.0, math.inf), (1.0, 2.0)], [(1.0, 2.0)]),
        ([(0.123, 1.0)], [(0.13, 1.0)]),
    ],
)
def test_windows_of(speech: list[Span], expected: list[Span]) -> None:
    assert windows(speech) == expected


TIMES = st.floats(-5, 60, allow_nan=False)


@given(st.lists(st.tuples(TIMES, TIMES), max_size=12))
def test_windows_lie_in_speech_and_cover_it(speech: list[Span]) -> None:
    spans, found = apart(speech), windows(speech)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))
    assert found == sorted(found)
    for start, end in found:
        assert SHORTEST <= round(end - start, 6) <= LENGTH
        assert any(span[0] <= start and end <= span[1] for span in spans)
    for start, end in spans:
        inside = [window for window in found if start <= window[0] and window[1] <= end]
        if round(end - start, 6) >= SHORTEST:
            assert inside[0][0] == start
            assert end - inside[-1][1] < 0.3
            assert all(right[0] < left[1] for left, right in itertools.pairwise(inside))
        assert len(inside) <= (end - start) / HOP + 1


def test_an_hour_of_speech_has_as_many_windows_as_the_hop_says() -> None:
    found = windows([(0.0, 3600.0)])
    assert len(found) == 4799
    assert found[-1] == (3598.5, 3600.0)
