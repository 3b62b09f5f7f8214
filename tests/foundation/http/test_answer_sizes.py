"""What is expected of an answer's size."""

from __future__ import annotations

import random

import pytest

from lapel.foundation.http.strategies.answer_sizes import AnswerSizes

KIB = 1 << 10


def test_a_world_is_known_by_the_rows_of_its_large_answers_and_no_other_world_by_them() -> None:
    sizes = AnswerSizes()
    sizes.learn(1, 160 * KIB, 20)
    assert [sizes.expected(1, rows) for rows in (1, 20, 100)] == [8 * KIB, 160 * KIB, 800 * KIB]
    assert sizes.expected(2, 100) == 0


def test_no_more_is_expected_than_a_page_may_have() -> None:
    """A page has at most 1 MiB of rows, or one row that is larger."""
    sizes = AnswerSizes()
    sizes.learn(1, 900 * KIB, 1)
    assert sizes.expected(1, 1) == 900 * KIB
    assert 1000 * KIB < sizes.expected(1, 100) <= 1024 * KIB
    sizes.learn(2, 5000 * KIB, 1)
    assert sizes.expected(2, 1) == sizes.expected(2, 100) == 5000 * KIB


def test_small_answers_are_not_remembered() -> None:
    sizes = AnswerSizes()
    sizes.learn(1, 32 * KIB, 20)
    assert sizes.expected(1, 100) == 0


def test_an_empty_answer_and_one_without_rows_count_as_one_row() -> None:
    sizes = AnswerSizes()
    sizes.learn(1, 64 * KIB, 0)
    assert sizes.expected(1, 1) == 64 * KIB


def test_no_more_than_a_thousand_worlds_are_remembered() -> None:
    sizes = AnswerSizes()
    for world in range(3000):
        sizes.learn(world, 64 * KIB, 1)
    known = [world for world in range(3000) if sizes.expected(world, 1)]
    assert 500 <= len(known) <= 2000
    assert known[-1] == 2999


@pytest.mark.parametrize("seed", range(20))
def test_one_large_answer_in_five_is_enough_to_be_known_for_large_ones(seed: int) -> None:
    chance, sizes = random.Random(seed), AnswerSizes()
    sizes.learn(1, 1000 * KIB, 100)
    for _ in range(200):
        for _ in range(chance.randint(0, 4)):
            rows = chance.randint(1, 100)
            sizes.learn(1, rows * chance.randint(1, KIB), rows)
        assert sizes.expected(1, 100) > 500 * KIB
        sizes.learn(1, 1000 * KIB, 100)
