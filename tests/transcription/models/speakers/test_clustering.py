"""Which voices are one: on vectors that are made, so that the truth is known."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.models.speakers import clustering
from lapel.slices.transcription.models.speakers.clustering import cluster

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

SIZE = 192


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def talk(people: list[int], *, spread: float = 0.6, seed: int = 0) -> Vectors:
    """A row for each window, of the person given. Rows of one person are 0.26 apart, of two about 1."""
    random = np.random.default_rng(seed)
    voices = unit(random.normal(size=(max(people, default=0) + 1, SIZE)))
    noise = random.normal(size=(len(people), SIZE)) * spread / np.sqrt(SIZE)
    return unit(voices[people] + noise) if people else np.zeros((0, SIZE), np.float32)


def numbered(people: list[int]) -> list[int]:
    """In order of appearance."""
    names: dict[int, int] = {}
    return [names.setdefault(person, len(names)) for person in people]


def test_nobody_and_one() -> None:
    assert cluster(talk([])) == []
    assert cluster(talk([0])) == [0]
    assert cluster(talk([0]), num_speakers=3) == [0]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_people_who_take_turns_are_told_apart(count: int) -> None:
    people = [(turn * 5 + turn // 3) % count for turn in range(40) for _ in range(4)]
    assert cluster(talk(people)) == numbered(people)
    assert cluster(talk(people), num_speakers=count) == numbered(people)


def test_the_same_rows_give_the_same_answer() -> None:
    rows = talk([0, 1, 2] * 30, spread=1.5)
    assert cluster(rows) == cluster(rows.copy())


def test_the_number_asked_for_is_kept_even_when_all_sound_the_same() -> None:
    same = np.repeat(talk([0]), 9, axis=0)
    assert cluster(same) == [0] * 9
    for count in range(1, 10):
        assert len(set(cluster(same, num_speakers=count))) == count
    assert len(set(cluster(same, num_speakers=50))) == 9


def test_bounds_are_kept() -> None:
    people = [0, 1, 2, 3] * 10
    assert len(set(cluster(talk(people), max_speakers=2))) == 2
    assert len(set(cluster(talk(people), min_speakers=6))) == 6
    assert len(set(cluster(talk(people), min_speakers=2, max_speakers=9))) == 4
    assert len(set(cluster(talk(people), min_speakers=9, max_speakers=3))) == 3
    assert len(set(cluster(talk(people), num_speakers=3, min_speakers=6, max_speakers=2))) == 3


@pytest.mark.parametrize(
    ("windows", "speakers"),
    [((2, 2), 2), ((6, 2), 2), ((3, 1), 1), ((10, 2), 1), ((10, 3), 2), ((2000, 3), 1)],
)
def test_how_many_windows_make_a_speaker(windows: tuple[int, int], speakers: int) -> None:
    people = [0] * windows[0] + [1] * windows[1]
    assert len(set(cluster(talk(people)))) == speakers


def test_a_noise_is_nobody() -> None:
    people = [0] * 10 + [2] + [1] * 10 + [3, 3]
    found = cluster(talk(people))
    assert found[:10] == [0] * 10
    assert found[11:21] == [1] * 10
    assert set(found) == {0, 1}
    # Nor does it take the place of one of the two that are asked for.
    assert cluster(talk(people), num_speakers=2) == found
    assert len(set(cluster(talk(people), num_speakers=4))) == 4


def test_a_stray_joins_the_nearest() -> None:
    rows = talk([0] * 8 + [1] * 8)
    between = unit(0.2 * rows[:1] + 0.5 * rows[8:9] + 0.8 * talk([0], seed=9))
    assert cluster(np.concatenate([rows, between]))[-1] == 1


def test_rows_that_tell_nothing_make_no_speaker() -> None:
    rows = talk([0] * 12 + [1] * 12 + [2] * 12)
    telling = np.array([True] * 24 + [False] * 12)
    found = cluster(rows, telling)
    assert found[:24] == [0] * 12 + [1] * 12
    assert set(found[24:]) <= {0, 1}
    assert len(set(cluster(rows, np.zeros(36, bool)))) == 3


@settings(max_examples=40, deadline=None)
@given(
    people=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    spread=st.floats(0, 4),
    asked=st.none() | st.integers(1, 70),
    least=st.integers(1, 5),
    most=st.none() | st.integers(1, 8),
    seed=st.integers(0, 5),
)
def test_whatever_is_given_the_answer_is_in_order_and_within_bounds(
    people: list[int], spread: float, asked: int | None, least: int, most: int | None, seed: int
) -> None:
    rows = talk(people, spread=spread, seed=seed)
    telling = np.random.default_rng(seed).random(len(people)) < 0.7
    found = cluster(rows, telling, num_speakers=asked, min_speakers=least, max_speakers=most)
    assert len(found) == len(people)
    assert numbered(found) == found
    count = len(set(found))
    if asked is not None:
        assert count == min(asked, len(people))
    else:
        assert count >= min(least, most or least, len(people))
        assert count <= (most or len(people))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 80), st.floats(0.1, 3), st.integers(0, 1000))
def test_our_joins_are_those_of_scipy(count: int, spread: float, seed: int) -> None:
    # Slow, and every test process imports this module.
    from scipy.cluster.hierarchy import linkage  # noqa: PLC0415
    from scipy.spatial.distance import pdist  # noqa: PLC0415

    rows = talk([index % 4 for index in range(count)], spread=spread, seed=seed)
    leaves = clustering._leaves(rows, 1)
    tree = clustering._Tree.grown(rows, leaves)
    distances = pdist(rows.astype(np.float64), "cosine")
    theirs = linkage(distances, "average")
    # Of pairs whose distances differ by less than float32 can tell, ours may join another one first.
    noise = np.random.default_rng(seed)
    for _ in range(8):
        blurred = linkage(distances * noise.uniform(1 - 3e-6, 1 + 3e-6, len(distances)), "average")
        assume(np.allclose(blurred[:, 2], theirs[:, 2], atol=1e-5))
    ours = np.concatenate([theirs[: count - len(tree.sizes), 2], tree.heights])
    assert np.allclose(ours, theirs[:, 2], atol=1e-5)


@pytest.mark.deep
def test_three_hours_of_five_voices_take_little_memory() -> None:
    random = np.random.default_rng(3)
    people = [person for person in random.integers(0, 5, 2400).tolist() for _ in range(6)]
    rows = talk(people, spread=0.9)
    tracemalloc.start()
    try:
        found = cluster(rows)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == numbered(people)
    # The distances of all of them would be 830 MB.
    assert len(people) == 14_400
    assert most < 80 * 2**20


def test_an_hour_of_noise_ends_too() -> None:
    noise = unit(np.random.default_rng(4).normal(size=(4_000, SIZE)))
    assert len(set(cluster(noise))) <= 50
    assert len(set(cluster(noise, num_speakers=60))) == 60


def test_rows_of_zeros_do_no_harm() -> None:
    rows = talk([0] * 10 + [1] * 10)
    rows[3] = 0
    found = cluster(rows)
    assert set(found) == {0, 1}
    assert len(found) == 20
    assert cluster(np.zeros((5, SIZE), np.float32), num_speakers=2) in ([0, 0, 0, 0, 1], [0, 1, 1, 1, 1])
