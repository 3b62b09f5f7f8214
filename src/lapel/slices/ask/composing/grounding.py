"""Checks whether a passage says what a claim says, and at which second.

By words first: enough of the claim's words, and every number, are in the passage. If the words are others, as
after a translation or a paraphrase, the meaning decides, by the embeddings of claim and sentences. A number,
a link or a word of mixed scripts that the passage does not have is never supported. The name of a recording
and the label of a speaker are not speech: they may explain a number or a name, and count as no word of the
passage.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel.slices.ask.errors import told_of_missing_vectors
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

    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.embeddings.service import Embeddings
    from lapel.slices.search.service import Sentence

# The share of the claim's words that three sentences of a passage must have.
LEAST_SHARE = 0.4
# The least cosine between a claim and a sentence that says the same in other words.
LEAST_COSINE = 0.875
_WINDOW = 3


async def supporting_time(claim: str, passage: Passage, embeddings: Embeddings) -> int | None:
    """The milliseconds at which the passage begins to say the claim; None if it does not say it.

    Without an embedding model, only words decide. Raises Unavailable when the model has too much to do.
    """
    # In a thread, because a number that was said in words takes up to 11 ms in each sentence.
    if not await asyncio.to_thread(_may_say, claim, passage) or not content_of(claim).words:
        return None
    by_words = _by_words(claim, passage, LEAST_SHARE)
    if by_words is not None:
        return by_words
    return await _by_meaning(claim, passage.sentences, embeddings)


def time_by_words(claim: str, passage: Passage, share: float) -> int | None:
    """The milliseconds at which the passage begins to say the claim, with its numbers and this share of its
    words; None if it does not. Call this in a thread."""
    return _by_words(claim, passage, share) if _may_say(claim, passage) else None


def _may_say(claim: str, passage: Passage) -> bool:
    """Whether the passage has sentences, and each number, link and word of mixed scripts of the claim."""
    said = [each.text for each in passage.sentences]
    return (
        bool(said)
        and not has_foreign_links(claim, passage.text)
        and mixed_words_were_said(claim, f"{about(passage)} {passage.text}")
        and numbers_were_said(claim, [about(passage), *said])
    )


def about(passage: Passage) -> str:
    """What the model was told of a passage beside its sentences."""
    recorded = "" if passage.recorded_at is None else f"{passage.recorded_at:%Y %m %d}"
    return f"{passage.title or ''} {passage.speaker or ''} {recorded}".replace("_", " ")


def _by_words(claim: str, passage: Passage, share: float) -> int | None:
    """The passage has sentences."""
    sentences, wanted = passage.sentences, content_of(claim).words
    hits = [content_of(each.text).words & wanted for each in sentences]
    windows = [frozenset[str]().union(*hits[first : first + _WINDOW]) for first in range(len(hits))]
    place = max(range(len(hits)), key=lambda each: (len(windows[each]) if hits[each] else 0, -each))
    if not hits[place] or not has_enough(wanted, windows[place], share):
        return None
    window = range(place, min(place + _WINDOW, len(hits)))
    start = max(window, key=lambda each: (len(hits[each]), -each))
    return sentences[start].start_ms


async def _by_meaning(claim: str, sentences: Sequence[Sentence], embeddings: Embeddings) -> int | None:
    some = sentences[: MOST_SENTENCES - 1]  # and the claim
    with told_of_missing_vectors():
        vectors = await embeddings.sentences([claim, *(each.text for each in some)], waits=True)
    if vectors is None:
        return None
    near = cosines(vectors)
    best = max(range(len(near)), key=near.__getitem__)
    return some[best].start_ms if near[best] >= LEAST_COSINE else None
