"""The waveform: collected without knowing the end, drawn in any number of points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lapel.slices.transcription.audio.envelope import Peaks
from lapel.slices.transcription.audio.peaks import MOST_PEAKS, resample


def collected(samples: NDArray[np.int16], steps: list[int]) -> bytes:
    """The peaks of samples that come in chunks of these lengths, by turns."""
    peaks, at, turn = Peaks(), 0, 0
    while at < len(samples):
        step = steps[turn % len(steps)]
        peaks.take(samples[at : at + step])
        at, turn = at + step, turn + 1
    return peaks.finish()


def share(samples: NDArray[np.int16], start: float, end: float) -> int:
    """The loudest between two places, 0 to 255."""
    part = samples[max(0, int(np.floor(start))) : int(np.ceil(end))].astype(np.int64)
    return int((np.abs(part).max(initial=0) * 255 + 16_384) // 32_768)


def noise(seed: int, length: int) -> NDArray[np.int16]:
    random = np.random.default_rng(seed)
    loud = random.integers(1, 32_768, 1 + length // 997).repeat(997)[:length]
    return (random.uniform(-1, 1, length) * loud).astype(np.int16)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 99), st.lists(st.integers(1, 30_000), min_size=1, max_size=5))
def test_up_to_four_seconds_every_peak_is_exact(length: int, seed: int, steps: list[int]) -> None:
    samples = noise(seed, length)
    peaks = collected(samples, steps)
    assert len(peaks) == min(MOST_PEAKS, length)
    for at, peak in enumerate(peaks):
        start, end = at * length // len(peaks), (at + 1) * length // len(peaks)
        assert peak == share(samples, start, end)


@settings(max_examples=15, deadline=None)
@given(st.integers(60_000, 2_000_000), st.integers(0, 99), st.integers(3_000, 400_000))
def test_beyond_a_peak_hears_its_share_and_little_more(length: int, seed: int, step: int) -> None:
    samples = noise(seed, length)
    peaks = collected(samples, [step])
    assert len(peaks) == MOST_PEAKS
    each = length / MOST_PEAKS
    for at in range(0, MOST_PEAKS, 37):
        start, end = at * each, (at + 1) * each
        assert share(samples, np.ceil(start), np.floor(end)) <= peaks[at]
        assert peaks[at] <= share(samples, start - each / 8 - 1, end + each / 8 + 1)


@pytest.mark.deep
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300_000), st.integers(1, 20_000), st.integers(1, 20_000))
def test_how_samples_come_makes_no_difference(length: int, one: int, other: int) -> None:
    samples = noise(length, length)
    assert collected(samples, [one]) == collected(samples, [other]) == collected(samples, [length])


@pytest.mark.parametrize("seconds", [5, 61, 3_600])
def test_one_loud_sample_is_seen_at_its_time(seconds: int) -> None:
    """Wherever it is, also at the very end."""
    second = np.zeros(16_000, np.int16)
    for place in (0, seconds // 2, seconds - 1):
        peaks = Peaks()
        for at in range(seconds):
            loud = second.copy()
            if at == place:
                loud[-1] = -32_768
            peaks.take(loud)
        found = peaks.finish()
        seen = [at for at, peak in enumerate(found) if peak]
        expected = (place * 16_000 + 15_999) * len(found) // (seconds * 16_000)
        assert expected in seen
        assert len(seen) <= 2
        assert {found[at] for at in seen} == {255}


def test_nothing_heard() -> None:
    assert Peaks().finish() == b""
    assert resample(b"", 100) == [0.0] * 100


@given(st.binary(min_size=1, max_size=300), st.integers(100, 4_000))
def test_points_are_the_loudest_of_their_share(peaks: bytes, points: int) -> None:
    drawn = resample(peaks, points)
    assert len(drawn) == points
    assert max(drawn) == round(max(peaks) / 255, 3)
    assert all(0 <= point <= 1 for point in drawn)
    for at, point in enumerate(drawn):
        first = at * len(peaks) // points
        last = -(-(at + 1) * len(peaks) // points)
        assert point == round(max(peaks[first:last]) / 255, 3)


def test_as_many_points_as_peaks_are_the_peaks() -> None:
    peaks = bytes(range(256)) * 4
    assert resample(peaks, 1_024) == [round(peak / 255, 3) for peak in peaks]
    assert resample(peaks, 512) == [round(peak / 255, 3) for peak in peaks[1::2]]
