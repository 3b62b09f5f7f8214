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
from lapel.slices.claims.service import Case, Evidence, judge_by_words
from lapel.slices.language_models.extractive.claim_support import LEAST_WORDS
from lapel.slices.language_models.extractive.content_words import content_of
from lapel.slices.language_models.service import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.claims.service import ClaimJudge, ClaimReader, Judgement

# So many sentences of an answer are looked for: each takes some milliseconds in each passage.
_MOST_SENTENCES = 12
# So many statements, each with a passage that it cites, are read by a second reader.
_MOST_READ = 32
# The passages with most words of a sentence are looked at.
_PASSAGES = 3
_LEAST_SHARE = 0.8


class PassageJudge:
    """Judges the sentences of one answer. `wrong`: the statements that no passage says which they cite, and
    what a second reader found wrong with each."""

    def __init__(
        self, passages: Sequence[Passage], judge: ClaimJudge, reader: ClaimReader | None = None
    ) -> None:
        self.wrong: dict[str, str] = {}
        self._passages = passages
        self._judge = judge
        self._reader = reader
        self._left = _MOST_SENTENCES
        self._judged: dict[tuple[str, int], CitationPart | None] = {}
        # The content words of each passage, and those that its title and its speaker add.
        self._words: list[tuple[frozenset[str], frozenset[str]]] | None = None

    @property
    def tokens(self) -> Tokens:
        """What the second reader used."""
        return Tokens() if self._reader is None else self._reader.tokens

    async def check(self, claim: str, number: int) -> CitationPart | None:
        """Where the passage with this number says the claim; None if it does not.

        Raises Unavailable when the embedding model has too much to do.
        """
        if not 1 <= number <= len(self._passages):
            return None
        if (claim, number) not in self._judged:
            self._judged[claim, number] = await self._check(claim, number)
        return self._judged[claim, number]

    async def _check(self, claim: str, number: int) -> CitationPart | None:
        passage, reader = self._passages[number - 1], self._reader_now()
        evidence = evidence_in(passage) if reader is None else self._with_neighbours(number)
        with told_of_missing_vectors():
            judgement = await self._judge.judge(claim, evidence, reader)
        cited = _cited(passage, evidence, judgement)
        if self._reader is not None:
            if cited is None and len(content_of(claim).words) >= LEAST_WORDS:
                self.wrong.setdefault(claim, judgement.difference)
            elif cited is not None:
                self.wrong.pop(claim, None)
        return cited

    def _reader_now(self) -> ClaimReader | None:
        """The second reader, for the first statements of an answer only: its cost is bounded."""
        return self._reader if len(self._judged) < _MOST_READ else None

    def _with_neighbours(self, number: int) -> Evidence:
        """A passage, and what was said right before and after it, if it is known: an answer without its
        question says little."""
        passage = self._passages[number - 1]
        if passage.found is not None:
            return evidence_in(passage)
        near = self._passages[max(number - 2, 0) : number + 1]
        sentences = [each for one in near for each in one.sentences]
        return Evidence(sentences=sentences, about=_about(passage))

    async def find(self, claim: str) -> CitationPart | None:
        """Where a passage says the claim with nearly all of its words; None if none does. Claims after the
        twelfth are not looked for."""
        if self._left <= 0:
            return None
        self._left -= 1
        found = await asyncio.to_thread(self._find, claim)
        if found is None:
            return None
        passage, cited = found
        reader = self._reader_now()
        read = None if reader is None else await reader.read([Case(claim, evidence_in(passage))])
        return cited if read is None or read[0].verdict == "supported" else None

    def _find(self, claim: str) -> tuple[Passage, CitationPart] | None:
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
            evidence = evidence_in(passage)
            found = _cited(passage, evidence, judge_by_words(claim, evidence, _LEAST_SHARE))
            if found is not None:
                return passage, found
        return None


def evidence_in(passage: Passage) -> Evidence:
    """What a judge reads of a passage."""
    return Evidence(sentences=passage.sentences, about=_about(passage))


def _about(passage: Passage) -> str:
    """What the model was told of a passage beside its sentences."""
    recorded = "" if passage.recorded_at is None else f"{passage.recorded_at:%Y %m %d}"
    return f"{passage.title or ''} {passage.speaker or ''} {recorded}".replace("_", " ")


def _cited(passage: Passage, evidence: Evidence, judgement: Judgement) -> CitationPart | None:
    if judgement.verdict != "supported" or judgement.sentence is None:
        return None
    start_ms = evidence.sentences[judgement.sentence].start_ms
    return CitationPart(recording_id=passage.recording_id, start_ms=start_ms)
