"""Says which passages support a sentence of an answer.

The model names passages: each is checked. A sentence for which it names none is looked for in all passages,
by its words, names and numbers, more strictly: small models often answer from the right passage and leave
its number out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.slices.ask.errors import told_of_missing_vectors
from lapel.slices.ask.wire import CitationPart
from lapel.slices.claims.service import Evidence, judge_by_words
from lapel.slices.language_models.extractive.claim_support import LEAST_WORDS
from lapel.slices.language_models.extractive.content_words import content_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.claims.service import ClaimJudge, Judgement

# So many sentences of an answer are looked for: each takes some milliseconds in each passage.
_MOST_SENTENCES = 12
# The passages with most words of a sentence are looked at.
_PASSAGES = 3
_LEAST_SHARE = 0.8


class PassageJudge:
    """Judges the sentences of one answer."""

    def __init__(self, passages: Sequence[Passage], judge: ClaimJudge) -> None:
        self._passages = passages
        self._judge = judge
        self._left = _MOST_SENTENCES
        # The content words of each passage, and those that its title and its speaker add.
        self._words: list[tuple[frozenset[str], frozenset[str]]] | None = None

    async def check(self, claim: str, number: int) -> CitationPart | None:
        """Where the passage with this number says the claim; None if it does not.

        Raises Unavailable when the embedding model has too much to do.
        """
        if not 1 <= number <= len(self._passages):
            return None
        passage = self._passages[number - 1]
        with told_of_missing_vectors():
            judgement = await self._judge.judge(claim, evidence_in(passage))
        return _cited(passage, judgement)

    async def find(self, claim: str) -> CitationPart | None:
        """Where a passage says the claim with nearly all of its words; None if none does. Claims after the
        twelfth are not looked for."""
        if self._left <= 0:
            return None
        self._left -= 1
        return await asyncio.to_thread(self._find, claim)

    def _find(self, claim: str) -> CitationPart | None:
        if self._words is None:
            self._words = [
                (content_of(each.text).words, content_of(_about(each)).words) for each in self._passages
            ]
        wanted = content_of(claim)
        if len(wanted.words) < LEAST_WORDS:
            return None
        named = [
            (len(wanted.words & own), -place)
            for place, (own, more) in enumerate(self._words)
            if wanted.names <= own | more
        ]
        for _, place in sorted(named, reverse=True)[:_PASSAGES]:
            passage = self._passages[-place]
            found = _cited(passage, judge_by_words(claim, evidence_in(passage), _LEAST_SHARE))
            if found is not None:
                return found
        return None


def evidence_in(passage: Passage) -> Evidence:
    """What a judge reads of a passage."""
    return Evidence(sentences=[each.text for each in passage.sentences], about=_about(passage))


def _about(passage: Passage) -> str:
    """What the model was told of a passage beside its sentences."""
    recorded = "" if passage.recorded_at is None else f"{passage.recorded_at:%Y %m %d}"
    return f"{passage.title or ''} {passage.speaker or ''} {recorded}".replace("_", " ")


def _cited(passage: Passage, judgement: Judgement) -> CitationPart | None:
    if judgement.verdict != "supported" or judgement.sentence is None:
        return None
    start_ms = passage.sentences[judgement.sentence].start_ms
    return CitationPart(recording_id=passage.recording_id, start_ms=start_ms)
