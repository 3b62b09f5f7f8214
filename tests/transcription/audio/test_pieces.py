"""Long recordings are cut where it is quiet."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.audio.envelope import Levels
from lapel.slices.transcription.audio.pieces import LEVEL_MS, LONGEST_MS, cut, level

LOUD, QUIET = 230, 100


def levels_of(duration_ms: int, level: int = LOUD) -> bytearray:
    return bytearray([level]) * -(-duration_ms // LEVEL_MS)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90_000), st.integers(3_000, 20_000), st.randoms(use_true_random=False))
def test_pieces_are_without_gaps_and_short_enough(duration_ms: int, longest_ms: int, random: object) -> None:
    levels = bytes(getattr(random, "choices")(range(256), k=len(levels_of(duration_ms))))  # noqa: B009
    pieces = cut(levels, duration_ms, longest_ms=longest_ms)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == duration_ms
    assert all(before[1] == after[0] for before, after in pairwise(pieces))
    lengths = [end - start for start, end in pieces]
    assert max(lengths) <= longest_ms
    if len(pieces) > 1:
        assert min(lengths[:-1]) >= longest_ms * 2 // 3
        assert lengths[-1] >= longest_ms // 10

    power = 10.0 ** (np.frombuffer(levels, np.uint8) / 20)
    for start, end in pieces[:-1]:
        earliest = start + longest_ms * 2 // 3
        latest = min(start + longest_ms, duration_ms - longest_ms // 10)
        places = range(-(-earliest // 50) + 3, latest // 50 - 3 + 1)
        around = {place: power[place - 3 : place + 3].sum() for place in places}
        assert around[end // 50] == pytest.approx(min(around.values()))


@pytest.mark.parametrize("duration_ms", [1, 1_000, LONGEST_MS - 1, LONGEST_MS])
def test_short_ones_stay_whole(duration_ms: int) -> None:
    assert cut(bytes(levels_of(duration_ms)), duration_ms) == [(0, duration_ms)]


def test_the_cut_is_amid_the_pause() -> None:
    duration_ms = 500_000
    levels = levels_of(duration_ms)
    levels[210_000 // 50 : 210_200 // 50] = bytes([QUIET]) * 4  # too short for a pause
    levels[240_000 // 50 : 240_600 // 50] = bytes([QUIET + 10]) * 12
    assert cut(bytes(levels), duration_ms) == [(0, 240_300), (240_300, 500_000)]


def test_of_two_silences_the_longer_one_is_cut() -> None:
    levels = levels_of(500_000)
    levels[210_000 // 50 : 210_400 // 50] = bytes(8)
    levels[250_000 // 50 : 251_400 // 50] = bytes(28)
    ((_, end), _) = cut(bytes(levels), 500_000)
    assert 250_550 <= end <= 250_850


def test_nothing_short_is_left_over() -> None:
    levels = levels_of(LONGEST_MS + 1)
    levels[(LONGEST_MS - 1_000) // 50 :] = bytes(len(levels) - (LONGEST_MS - 1_000) // 50)
    (_, (start, end)) = cut(bytes(levels), LONGEST_MS + 1)
    assert end - start >= LONGEST_MS // 10


def test_a_day_of_silence() -> None:
    day = 24 * 3_600_000
    pieces = cut(bytes(day // LEVEL_MS), day)
    assert pieces[-1][1] == day
    assert len(pieces) <= day / (LONGEST_MS * 2 / 3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50_000), st.lists(st.integers(1, 9_000), min_size=1, max_size=4), st.integers(0, 9))
def test_levels_are_of_fifty_milliseconds_each(length: int, steps: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-30_000, 30_000, length).astype(np.int16)
    levels, at, turn = Levels(), 0, 0
    while at < length:
        levels.take(samples[at : at + steps[turn % len(steps)]])
        at, turn = at + steps[turn % len(steps)], turn + 1
    found = levels.finish()
    assert len(found) == -(-length // 800)
    for at, each in enumerate(found):
        part = samples[at * 800 : (at + 1) * 800] / 32_768
        assert abs(each - level(np.array([np.square(part).mean()]))[0]) <= 1


def test_levels_are_half_decibels() -> None:
    assert level(np.array([0.0, 1.0, 0.1, 0.01, 1e-9])).tolist() == [0, 254, 234, 214, 74]
