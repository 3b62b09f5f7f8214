"""Citations for an answer in which the model has named no passage at all.

Small models often answer from the right passage and leave its number out. So each sentence of such an answer
is looked for in the passages, by its words, names and numbers, more strictly than where the model has named a
passage. Sentences that are found stay, with the place; the others go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lapel.slices.ask.composing.answer_draft import SENTENCE_END
from lapel.slices.ask.composing.answer_prompt import NOT_THERE
from lapel.slices.ask.composing.grounding import time_by_words
from lapel.slices.ask.wire import CitationPart, Part, TextPart
from lapel.slices.language_models.extractive.claim_support import LEAST_WORDS
from lapel.slices.language_models.extractive.content_words import content_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.composing.passages import Passage

# Of a longer answer, only so many sentences are looked for: each takes some milliseconds in each passage.
_SENTENCES = 12
# The passages with most words of a sentence are looked at.
_PASSAGES = 3
_LEAST_SHARE = 0.8


async def cited_by_words(text: str, passages: Sequence[Passage]) -> list[Part]:
    """The sentences of an answer that a passage says, each with its place; none if no passage says any."""
    if NOT_THERE.casefold() in text.casefold():
        return []
    return await asyncio.to_thread(_cited, text, passages)


def _cited(text: str, passages: Sequence[Passage]) -> list[Part]:
    parts: list[Part] = []
    said = [(content_of(each.text).words, each) for each in passages]
    for sentence in list(_sentences(text))[:_SENTENCES]:
        found = _citation(sentence, said)
        if found is not None:
            between = " " if parts else ""
            parts += [TextPart(text=between + sentence), found]
    return parts


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in SENTENCE_END.finditer(text):
        yield text[start : end.end()].strip()
        start = end.end()
    yield text[start:].strip()


def _citation(claim: str, said: Sequence[tuple[frozenset[str], Passage]]) -> CitationPart | None:
    """`said`: the passages with their content words."""
    wanted = content_of(claim)
    if len(wanted.words) < LEAST_WORDS:
        return None
    named = [pair for pair in said if wanted.names <= pair[0]]
    for _, passage in sorted(named, key=lambda pair: -len(wanted.words & pair[0]))[:_PASSAGES]:
        start_ms = time_by_words(claim, passage, _LEAST_SHARE)
        if start_ms is not None:
            return CitationPart(recording_id=passage.recording_id, start_ms=start_ms)
    return None
