"""What was found by words and by meaning becomes one order."""

from __future__ import annotations

import pytest

from lapel.slices.search.nearest_queries import NearRow
from lapel.slices.search.rank_fusion import joined
from lapel.slices.search.word_queries import WordsRow


def test_first_in_both_is_the_best_and_scores_twice() -> None:
    found = joined([WordsRow("a", 1.0), WordsRow("b", 1.0)], [NearRow("a"), NearRow("c")], 10)
    assert list(found) == ["a", "b", "c"]  # b and c are equal, and then the id decides
    assert found["a"] == pytest.approx(2 / 61)
    assert found["b"] == found["c"] == pytest.approx(1 / 62)


def test_a_chunk_with_few_of_the_words_does_not_push_the_meaning_aside() -> None:
    found = joined([WordsRow("name", 0.3)], [NearRow("near"), NearRow("next")], 2)
    assert list(found) == ["near", "next"]


def test_each_alone_is_enough() -> None:
    assert list(joined([WordsRow("b", 0.9), WordsRow("a", 0.4)], [], 10)) == ["b", "a"]
    assert list(joined([], [NearRow("b"), NearRow("a")], 1)) == ["b"]
    assert joined([], [], 10) == {}
