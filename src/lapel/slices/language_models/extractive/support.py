"""Passages of a transcript that support an answer to a question, and how well.

A window is one or two sentences of one speaker. In a first step every window has a score without vectors; in
a second step the vectors of the best windows decide. Both scores are sums of a few features.
benchmarks/extractive_threshold.py has fitted their weights to the half `choose` of the shipped questions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Final

import msgspec

from lapel.slices.language_models.extractive.answer_types import AnswerType, can_hold, wanted_type
from lapel.slices.language_models.extractive.content_words import content_of
from lapel.slices.language_models.extractive.text_language import language_of, likely_language

# Words near a window count too, because an answer often leaves out what the sentence before it has named:
# those of the sentences beside it, and those of its passage and of the recording's title.
_BESIDE, _FAR = 0.7, 0.25
_MOST_NEW = 10


class AnswerWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One or two sentences that may be an answer.

    `beside`: the sentences before and after it. `around`: its passage and the recording's title. `rank`: of
    its passage among those that a search found, from 0 on.
    """

    text: str
    beside: str
    around: str
    rank: int


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What speaks for a window as an answer; all but `cosine` 0 to 1.

    `words`: the share of the question's content words that it has, or that are near it; rare words count
    more. `rank`: 1 for the best passage of the search, 1/2 for the second. `new`: content words that the
    question does not have, up to ten. `number`, `time`, `name`: 1 if the question wants such a thing and the
    window has one. `foreign`: 1 if its passage is in another language than the question: then cosines are
    smaller, and words differ. `cosine`: of its vector with the question's; 0 while it has none.
    """

    words: float
    rank: float
    new: float
    number: float
    time: float
    name: float
    foreign: float
    cosine: float = 0.0


# How much a change of a feature by 1 changes the score.
FIRST_WEIGHTS: Final = Features(
    words=6.93, rank=3.15, new=1.54, number=1.67, time=1.02, name=1.99, foreign=0.77
)
WEIGHTS: Final = Features(
    words=2.13, rank=2.22, new=1.19, number=1.18, time=0.70, name=1.97, foreign=1.58, cosine=46.92
)
# The fitted score of "no window answers". A window supports an answer if its score is at least this less 1.6:
# the highest threshold with which 85 % of the questions that have an answer are answered.
NO_ANSWER: Final = 43.0
SUPPORTED: Final = NO_ANSWER - 1.6
# A window with a score that is lower than the best one's by more than this is left out.
NEAR_THE_BEST: Final = 1.0


def features_of(question: str, windows: Sequence[AnswerWindow]) -> list[Features]:
    """The features of every window, without cosines. Of hundreds of windows, call this in a thread."""
    asked = _Asked(question, [each.text for each in windows])
    return [asked.features(each) for each in windows]


def score(features: Features, weights: Features = WEIGHTS) -> float:
    """How well a window with these features supports an answer. Only differences have a meaning."""
    return sum(getattr(features, name) * getattr(weights, name) for name in Features.__struct_fields__)


def _words(text: str) -> frozenset[str]:
    return content_of(text).words


class _Asked:
    """A question, and what several windows have in common: their passages, and how rare words are."""

    def __init__(self, question: str, texts: Sequence[str]) -> None:
        self._question = question
        self._wanted: AnswerType = wanted_type(question)
        self._language = likely_language(question)
        self._words = cache(_words)
        self._language_of = cache(language_of)
        counts = Counter(word for each in texts for word in self._words(each))
        asked = content_of(question).words
        # A word that few windows have weighs more.
        self._weights = {word: math.log(1.0 + len(texts) / (1 + counts[word])) for word in asked}

    def features(self, window: AnswerWindow) -> Features:
        own = self._words(window.text)
        wanted = self._wanted
        holds = can_hold(wanted, window.text, self._question)
        language = self._language_of(window.around)
        return Features(
            words=self._share(window, own),
            rank=1 / (1 + window.rank),
            new=min(len(own - self._weights.keys()), _MOST_NEW) / _MOST_NEW,
            number=float(holds and wanted == "number"),
            time=float(holds and wanted == "time"),
            name=float(holds and wanted == "name"),
            foreign=float(None not in (language, self._language) and language != self._language),
        )

    def _share(self, window: AnswerWindow, own: frozenset[str]) -> float:
        beside, around = self._words(window.beside), self._words(window.around)
        shared = sum(
            weight * (1.0 if word in own else _BESIDE if word in beside else _FAR if word in around else 0.0)
            for word, weight in self._weights.items()
        )
        return shared / (sum(self._weights.values()) or 1.0)
