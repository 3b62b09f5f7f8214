"""Checks whether a passage says what a claim says, and at which second.

By words first: enough of the claim's words, and every number, are in the passage. If the words are others, as
after a translation or a paraphrase, the meaning decides, by the embeddings of claim and sentences. A number
that the passage does not have is never supported.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from lapel.slices.embeddings.service import MOST_SENTENCES, cosines
from lapel.slices.language_models.extractive.content_words import content_of, numbers_of
from lapel.slices.language_models.extractive.number_words import spoken_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.embeddings.service import Meanings
    from lapel.slices.search.service import Sentence

# The share of the claim's words that three sentences of a passage must have, and their number.
LEAST_SHARE = 0.4
LEAST_WORDS = 2
# The least cosine between a claim and a sentence that says the same in other words.
LEAST_COSINE = 0.875
_WINDOW = 3


async def supporting_time(claim: str, passage: Passage, meanings: Meanings) -> int | None:
    """The milliseconds at which the passage begins to say the claim; None if it does not say it."""
    known = _about(passage)
    if not _has_numbers(claim, passage, known):
        return None
    wanted = content_of(claim).words
    if not wanted:
        return None
    by_words = _by_words(wanted, passage.sentences, known)
    if by_words is not None:
        return by_words
    return await _by_meaning(claim, passage.sentences, meanings)


def _about(passage: Passage) -> str:
    """What the model was told of a passage beside its sentences."""
    recorded = "" if passage.recorded_at is None else f"{passage.recorded_at:%Y %m %d}"
    return f"{passage.title or ''} {passage.speaker or ''} {recorded}".replace("_", " ")


def _has_numbers(claim: str, passage: Passage, known: str) -> bool:
    text = f"{passage.text} {known}"
    missing = numbers_of(claim) - numbers_of(text)
    return not missing or missing <= {
        str(each) for each in spoken_numbers(unicodedata.normalize("NFKC", text))
    }


def _by_words(wanted: frozenset[str], sentences: Sequence[Sentence], known: str) -> int | None:
    about = content_of(known).words & wanted
    hits = [content_of(each.text).words & wanted for each in sentences]
    best, place = 0, -1
    for first in range(len(hits)):
        count = len(frozenset[str]().union(*hits[first : first + _WINDOW]))
        if count > best and hits[first]:
            best, place = count, first
    if place < 0:
        return None
    enough = min(LEAST_WORDS, len(wanted))
    if best + len(about) < enough or (best + len(about)) / len(wanted) < LEAST_SHARE:
        return None
    window = range(place, min(place + _WINDOW, len(hits)))
    start = max(window, key=lambda each: (len(hits[each]), -each))
    return sentences[start].start_ms


async def _by_meaning(claim: str, sentences: Sequence[Sentence], meanings: Meanings) -> int | None:
    some = sentences[: MOST_SENTENCES - 1]  # and the claim
    vectors = await meanings.sentences([claim, *(each.text for each in some)])
    if vectors is None:
        return None
    near = cosines(vectors)
    best = max(range(len(near)), key=near.__getitem__)
    return some[best].start_ms if near[best] >= LEAST_COSINE else None
