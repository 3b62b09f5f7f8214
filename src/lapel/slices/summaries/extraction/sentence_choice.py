"""Chooses the sentences of a transcript that represent it, or that are nearest to a text.

A sentence represents a transcript if it is near the mean of all sentences; each further sentence must also be
unlike those that are chosen (maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998). Nearness is
that of the embedding model's vectors; without them, of the words, weighted by their rarity (tf-idf).
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from lapel.slices.embeddings.service import MOST_SENTENCES, dot
from lapel.slices.language_models.extractive.content_words import content_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.embeddings.service import Meanings

_Vector: TypeAlias = "array[float]"

# The most sentences whose vectors are made: those that are best by their words.
_MOST_CANDIDATES = 192
_FEWEST_WORDS = 3  # of a sentence that can represent anything
_LONGEST = 20_000  # sentences that are weighed at all; twelve hours of speech have about as many
_RELEVANCE = 0.7  # against novelty
_USUAL_WORDS = 12  # a shorter sentence says less


class WeighedSentences:
    """The sentences of one transcript by their words."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Takes about ten microseconds for each sentence: call it in a thread for long transcripts."""
        self._counts = [Counter(content_words(text)) for text in texts[:_LONGEST]]
        documents = Counter(word for counts in self._counts for word in counts)
        self._rarity = {word: math.log(1 + len(self._counts) / number) for word, number in documents.items()}
        self._vectors = [self._vector(counts) for counts in self._counts]
        centre: dict[str, float] = {}
        for vector in self._vectors:
            for word, value in vector.items():
                centre[word] = centre.get(word, 0.0) + value
        middle = _unit(centre)
        # How near each sentence is to all of them, 0 to 1.
        self.central = [
            _product(vector, middle) * min(sum(counts.values()) / _USUAL_WORDS, 1.0)
            if len(counts) >= _FEWEST_WORDS
            else 0.0
            for vector, counts in zip(self._vectors, self._counts, strict=True)
        ]

    def near(self, text: str) -> list[float]:
        """How near each sentence is to a text, 0 to 1."""
        wanted = self._vector(Counter(content_words(text)))
        return [_product(vector, wanted) for vector in self._vectors]

    def likeness(self, one: int, other: int) -> float:
        """How like two sentences are, 0 to 1."""
        return _product(self._vectors[one], self._vectors[other])

    def _vector(self, counts: Counter[str]) -> dict[str, float]:
        return _unit({word: number * self._rarity.get(word, 0.0) for word, number in counts.items()})


class SentenceChoice:
    """Chooses sentences of one transcript."""

    def __init__(self, texts: Sequence[str], weighed: WeighedSentences, meanings: Meanings | None) -> None:
        self._texts = texts
        self._weighed = weighed
        self._meanings = meanings
        self._made: dict[str, _Vector] = {}

    async def representative(self, number: int, among: Sequence[int] | None = None) -> list[int]:
        """The places of up to `number` sentences that represent the transcript, in its order. `among`: the
        places to choose from."""
        return await self._choose(self._weighed.central, None, number, among)

    async def nearest(self, text: str, number: int) -> list[int]:
        """The places of up to `number` sentences that are nearest to a text; none if nothing is near it."""
        near = await asyncio.to_thread(self._weighed.near, text)
        return await self._choose(near, text, number, None)

    async def _choose(
        self, scores: Sequence[float], wanted: str | None, number: int, among: Sequence[int] | None
    ) -> list[int]:
        allowed = range(len(scores)) if among is None else [at for at in among if at < len(scores)]
        places = sorted((each for each in allowed if scores[each] > 0), key=lambda each: -scores[each])
        places = sorted(places[:_MOST_CANDIDATES])
        if len(places) <= 1:
            return places[:number]
        texts = [self._texts[each] for each in places]
        vectors = await self._vectors(texts if wanted is None else [*texts, wanted])
        if vectors is None:
            return await asyncio.to_thread(_by_words, self._weighed, scores, places, number)
        chosen = await asyncio.to_thread(_by_meaning, texts, vectors, number)
        return sorted(places[each] for each in chosen)

    async def _vectors(self, texts: Sequence[str]) -> list[_Vector] | None:
        if self._meanings is None:
            return None
        new = [text for text in dict.fromkeys(texts) if text not in self._made]
        for start in range(0, len(new), MOST_SENTENCES):
            some = new[start : start + MOST_SENTENCES]
            vectors = await self._meanings.sentences(some)
            if vectors is None:
                return None
            self._made.update(zip(some, (array("f", each) for each in vectors), strict=True))
        return [self._made[text] for text in texts]


def _by_meaning(texts: Sequence[str], vectors: Sequence[_Vector], number: int) -> list[int]:
    """The places of the texts chosen by maximal marginal relevance.

    If there is one vector more than texts, it is that of the text to which they should be near. Otherwise
    they should be near their mean.
    """
    centre = vectors[-1]
    if len(vectors) == len(texts):
        centre = array("f", map(sum, zip(*vectors, strict=True)))
        length = math.sqrt(dot(centre, centre)) or 1.0
        centre = array("f", (each / length for each in centre))
    weights = [min(len(content_words(text)) / _USUAL_WORDS, 1.0) for text in texts]
    relevance = [dot(vectors[at], centre) * weights[at] for at in range(len(texts))]
    chosen: list[int] = []
    left = dict.fromkeys(range(len(texts)), 0.0)
    while left and len(chosen) < number:
        best = max(left, key=lambda at: _RELEVANCE * relevance[at] - (1 - _RELEVANCE) * left[at])
        del left[best]
        chosen.append(best)
        for at in left:
            left[at] = max(left[at], dot(vectors[at], vectors[best]))
    return chosen


def _by_words(
    weighed: WeighedSentences, scores: Sequence[float], places: Sequence[int], number: int
) -> list[int]:
    chosen: list[int] = []
    highest = max(scores[each] for each in places)
    left = dict.fromkeys(places, 0.0)
    while left and len(chosen) < number:
        best = max(left, key=lambda each: _RELEVANCE * scores[each] / highest - (1 - _RELEVANCE) * left[each])
        del left[best]
        chosen.append(best)
        for each in left:
            left[each] = max(left[each], weighed.likeness(each, best))
    return sorted(chosen)


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = math.sqrt(sum(value * value for value in vector.values()))
    return {word: value / length for word, value in vector.items()} if length else {}


def _product(one: dict[str, float], other: dict[str, float]) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(value * other.get(word, 0.0) for word, value in one.items())
