"""Sentences that support an answer to a question, and how well.

Cosines of e5 embeddings lie between 0.75 and 0.95 whatever they compare, so a cosine alone says little. It is
compared with the cosines of the transcript's other sentences, and beside it stands what the question and the
sentence share: content words, names and numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from lapel.slices.language_models.extractive.content_words import (
    Content,
    content_of,
    say_the_same,
    word_count,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A sentence with this score or a higher one supports an answer. It is the threshold with the best refusal
# accuracy on the half `choose` of the shipped questions (benchmarks/extractive_threshold.py). It refuses what
# has little to do with the recordings; no threshold tells near misses from what has an answer.
SUPPORTED = 0.16
# A transcript with fewer sentences has no distribution of its own; these are usual values of e5.
_LEAST_BACKGROUND = 12
_USUAL_COSINE, _USUAL_SPREAD = 0.80, 0.03
# Words around a sentence that count as its own, by this share: an answer often leaves out what the sentence
# before it has named.
_NEIGHBOUR = 0.5


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What speaks for a sentence as an answer.

    `cosine`: with the question. `margin`: how many standard deviations the cosine is above those of the
    other sentences. `words`: the share of the question's content words that the sentence has, 0 to 1; rare
    words count more. `named`: the share of the question's names and numbers that the sentence or its
    neighbours have; 1 if the question has none. `absent`: the share of the question's names and numbers that
    no sentence has. `length`: the number of words.
    """

    cosine: float
    margin: float
    words: float
    named: float
    absent: float
    length: int


class Supporting(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence that supports an answer. `index`: of the sentence. `score`: 0 to 1."""

    index: int
    score: float
    features: Features


def supported(
    question: str,
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    question_vector: NDArray[np.float32],
    *,
    count: int = 3,
    threshold: float = SUPPORTED,
) -> list[Supporting]:
    """The sentences that support an answer, at most `count`, best first; empty if none does.

    `vectors`: the sentences' embeddings, one unit vector a row; `question_vector`: the question's. Call this
    in a thread if there are hundreds of sentences.
    """
    found = features_of(question, texts, vectors, question_vector)
    scored = sorted(
        (
            Supporting(index=at, score=score(each), features=each)
            for at, each in enumerate(found)
            if not texts[at].rstrip().endswith(("?", "？", "؟"))
        ),
        key=lambda each: -each.score,
    )
    picked: list[Supporting] = []
    said: list[frozenset[str]] = []
    for each in scored:
        if each.score < threshold or len(picked) == count:
            break
        words = content_of(texts[each.index]).words
        if not any(say_the_same(words, other) for other in said):
            picked.append(each)
            said.append(words)
    return picked


def features_of(
    question: str,
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    question_vector: NDArray[np.float32],
) -> list[Features]:
    """The features of every sentence. Arguments: see `supported`."""
    if not texts:
        return []
    asked, contents = content_of(question), [content_of(text) for text in texts]
    cosines = vectors @ question_vector
    usual, spread = _background(cosines)
    weights = _weights(asked, contents)
    total = sum(weights.values())
    marks = {(kind, each) for kind in ("names", "numbers") for each in getattr(asked, kind)}
    everywhere = _all_marks(contents)
    absent = len(marks - everywhere) / len(marks) if marks else 0.0
    found: list[Features] = []
    for at, own in enumerate(contents):
        near = contents[max(at - 1, 0) : at] + contents[at + 1 : at + 2]
        around = frozenset[str]().union(*(each.words for each in near))
        shared = sum(
            weight * (1.0 if word in own.words else _NEIGHBOUR if word in around else 0.0)
            for word, weight in weights.items()
        )
        held = marks & _all_marks([own, *near])
        found.append(
            Features(
                cosine=float(cosines[at]),
                margin=(float(cosines[at]) - usual) / spread,
                words=shared / total if total else 0.0,
                named=len(held) / len(marks) if marks else 1.0,
                absent=absent,
                length=word_count(texts[at]),
            )
        )
    return found


def score(features: Features) -> float:
    """How well a sentence with these features supports an answer, 0 to 1: a logistic function of them.

    The weights were fitted to the sentences of the shipped conversations, for the questions of one half.
    """
    told = (
        -7.95
        + 7.7 * features.cosine
        + 0.46 * min(features.margin, 8.0)
        + 7.0 * features.words
        + 0.16 * (features.named - 1.0)
        - 0.1 * features.absent
        + 0.28 * min(features.length, 20) / 20
    )
    return 1.0 / (1.0 + math.exp(-max(min(told, 30.0), -30.0)))


def _background(cosines: NDArray[np.float32]) -> tuple[float, float]:
    """Median and spread of the cosines; usual values if there are few of them."""
    if len(cosines) < _LEAST_BACKGROUND:
        return _USUAL_COSINE, _USUAL_SPREAD
    median = float(np.median(cosines))
    # From the median absolute deviation, which a few very good sentences do not change.
    spread = 1.4826 * float(np.median(np.abs(cosines - median)))
    return median, max(spread, 0.005)


def _weights(asked: Content, contents: Sequence[Content]) -> dict[str, float]:
    """The question's content words; a word that few sentences have weighs more."""
    counts = Counter(word for each in contents for word in each.words)
    return {word: math.log(1.0 + len(contents) / (1 + counts[word])) for word in asked.words}


def _all_marks(contents: Sequence[Content]) -> set[tuple[str, str]]:
    """The names and numbers of several sentences. A name is found in any spelling."""
    words = {("names", word) for each in contents for word in each.words}
    return words | {("numbers", number) for each in contents for number in each.numbers}
