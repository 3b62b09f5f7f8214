"""Judges whether sentences say what a claim says, and which of them.

By words first: enough of the claim's words, and every number, are in the sentences. If the words are others,
as after a translation or a paraphrase, the meaning decides, by the embeddings of claim and sentences. A
number, a link or a word of mixed scripts that nobody said is never supported. What `Evidence` tells beside
its sentences may explain a number or a name, and counts as no word of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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

    from lapel.slices.claims.judgement import Evidence
    from lapel.slices.embeddings.service import Embeddings

# The share of the claim's words that three sentences must have.
LEAST_SHARE = 0.4
# The least cosine between a claim and a sentence that says the same in other words.
LEAST_COSINE = 0.875
_WINDOW = 3


class ClaimJudge:
    """Judges claims. Without an embedding model, only words decide."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    async def judge(self, claim: str, evidence: Evidence) -> Judgement:
        """Whether the sentences say the claim. Raises EmbeddingsAway when the model has too much to do."""
        # In a thread, because a number that was said in words takes up to 11 ms in each sentence.
        if not await asyncio.to_thread(_may_say, claim, evidence) or not content_of(claim).words:
            return ABSENT
        place = _by_words(claim, evidence.sentences, LEAST_SHARE)
        if place is None:
            place = await self._by_meaning(claim, evidence.sentences)
        return ABSENT if place is None else Judgement("supported", place)

    async def _by_meaning(self, claim: str, sentences: Sequence[str]) -> int | None:
        some = sentences[: MOST_SENTENCES - 1]  # and the claim
        vectors = await self._embeddings.sentences([claim, *some], waits=True)
        if vectors is None:
            return None
        near = cosines(vectors)
        best = max(range(len(near)), key=near.__getitem__)
        return best if near[best] >= LEAST_COSINE else None


def judge_by_words(claim: str, evidence: Evidence, share: float) -> Judgement:
    """Whether the sentences have the claim's numbers, and this share of its words. Call this in a thread."""
    place = _by_words(claim, evidence.sentences, share) if _may_say(claim, evidence) else None
    return ABSENT if place is None else Judgement("supported", place)


def _may_say(claim: str, evidence: Evidence) -> bool:
    """Whether there are sentences, and each number, link and word of mixed scripts of the claim."""
    text = " ".join(evidence.sentences)
    return (
        bool(evidence.sentences)
        and not has_foreign_links(claim, text)
        and mixed_words_were_said(claim, f"{evidence.about} {text}")
        and numbers_were_said(claim, [evidence.about, *evidence.sentences])
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
