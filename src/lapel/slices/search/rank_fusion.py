"""Joins what was found by words and by meaning to one order, by reciprocal rank.

Source: Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods", 2009.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.search.nearest_queries import NearRow
    from lapel.slices.search.word_queries import WordsRow

# The constant of the method: the greater, the less the first places count.
_K = 60


def joined(by_words: Sequence[WordsRow], nearest: Sequence[NearRow], limit: int) -> dict[str, float]:
    """Ids of the best chunks, best first, and their scores: greater is better; at most 2/61.

    Both are in order. What the words add is multiplied by the square of their share: one name of a long
    question says little.
    """
    scores = {row.id: row.share**2 / (_K + rank) for rank, row in enumerate(by_words, 1)}
    for rank, row in enumerate(nearest, 1):
        scores[row.id] = scores.get(row.id, 0.0) + 1 / (_K + rank)
    best = sorted(scores, key=lambda each: (-scores[each], each))[:limit]
    return {each: scores[each] for each in best}
