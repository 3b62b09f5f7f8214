"""Judges whether sentences say what a claim says, and which of them.

By words first: enough of the claim's words, and every number, are in the sentences. If the words are others,
as after a translation or a paraphrase, the meaning decides, by the embeddings of claim and sentences. A
second reader, where there is one, has the last word on all that has some words or some meaning in common. A
number, a link or a word of mixed scripts that nobody said is never supported. What `Evidence` tells beside
its sentences may explain a number or a name, and counts as no word of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.slices.claims.claim_reader import Case
from lapel.slices.claims.judgement import ABSENT, Judgement
from lapel.slices.embeddings.service import MOST_SENTENCES, cosines
from lapel.slices.language_models.extractive.claim_support import (
    has_enough,
    mixed_words_were_said,
    numbers_were_said,
)
from lapel.slices.language_models.extractive.content_words import content_of
from lapel.slices.language_models.extractive.text_links import has_foreign_links

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.claims.claim_reader import ClaimReader
    from lapel.slices.claims.judgement import Evidence
    from lapel.slices.embeddings.service import Embeddings

# The share of the claim's words that three sentences must have.
LEAST_SHARE = 0.4
# The least cosine between a claim and a sentence that says the same in other words.
LEAST_COSINE = 0.875
# The least cosine of a claim that a second reader reads. Of the half `choose` of the shipped claims, 1 % of
# the true ones are below it in the same language, and 5 % in another one.
READ_COSINE = 0.8
_WINDOW = 3


class ClaimJudge:
    """Judges claims. Without an embedding model, only words decide."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    async def judge(self, claim: str, evidence: Evidence, reader: ClaimReader | None = None) -> Judgement:
        """Whether the sentences say the claim. If the reader cannot read now, words and meaning decide.

        Raises EmbeddingsAway when the embedding model has too much to do.
        """
        texts = evidence.texts
        # In a thread, because it reads numbers in words, in five languages.
        if not await asyncio.to_thread(_may_say, claim, evidence) or not content_of(claim).words:
            return ABSENT
        place, cosine = _by_words(claim, texts, LEAST_SHARE), None
        if place is None:
            place, cosine = await self._nearest(claim, texts)
        if reader is not None and (cosine is None or cosine >= READ_COSINE):
            read = await reader.read([Case(claim, evidence)])
            if read is not None:
                return _with_place(read[0], place)
        if place is None or (cosine is not None and cosine < LEAST_COSINE):
            return ABSENT
        return Judgement("supported", place)

    async def _nearest(self, claim: str, sentences: Sequence[str]) -> tuple[int | None, float | None]:
        """The sentence whose meaning is nearest to the claim's, and its cosine; None without a model."""
        some = sentences[: MOST_SENTENCES - 1]  # and the claim
        vectors = await self._embeddings.sentences([claim, *some], waits=True)
        if vectors is None:
            return None, None
        near = cosines(vectors)
        best = max(range(len(near)), key=near.__getitem__)
        return best, near[best]


def _with_place(read: Judgement, place: int | None) -> Judgement:
    """A reader's judgement; where it names no sentence, the one with the claim's words or meaning."""
    if read.verdict != "supported" or read.sentence is not None:
        return read
    return Judgement("supported", place or 0, read.difference)


def judge_by_words(claim: str, evidence: Evidence, share: float) -> Judgement:
    """Whether the sentences have the claim's numbers, and this share of its words. Call this in a thread."""
    place = _by_words(claim, evidence.texts, share) if _may_say(claim, evidence) else None
    return ABSENT if place is None else Judgement("supported", place)


def _may_say(claim: str, evidence: Evidence) -> bool:
    """Whether there are sentences, and each number, link and word of mixed scripts of the claim."""
    text = " ".join(evidence.texts)
    return (
        bool(evidence.sentences)
        and not has_foreign_links(claim, text)
        and mixed_words_were_said(claim, f"{evidence.about} {text}")
        and numbers_were_said(claim, [evidence.about, *evidence.texts])
    )


def _by_words(claim: str, sentences: Sequence[str], share: float) -> int | None:
    """There are sentences."""
    wanted = content_of(claim).words
    hits = [content_of(each).words & wanted for each in sentences]
    windows = [frozenset[str]().union(*hits[first : first + _WINDOW]) for first in range(len(hits))]
    place = max(range(len(hits)), key=lambda each: (len(windows[each]) if hits[each] else 0, -each))
    if not hits[place] or not has_enough(wanted, windows[place], share):
        return None
    window = range(place, min(place + _WINDOW, len(hits)))
    return max(window, key=lambda each: (len(hits[each]), -each))
