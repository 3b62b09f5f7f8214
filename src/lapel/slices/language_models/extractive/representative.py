"""Sentences that stand for a transcript: close to its centre, and different from each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lapel.slices.language_models.extractive.content_words import content_of, say_the_same, word_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A sentence with fewer words is a fragment, such as "Yes, exactly."
_LEAST_WORDS = 5
_QUESTION = re.compile(r"[?？؟;]\s*[\"'”’»)\]]*\s*$")
_GREETING = re.compile(
    r"^\W*(hi|hello|hey|good (morning|afternoon|evening)|welcome|thanks?|thank you|bye|goodbye|see you|hallo"
    r"|guten (morgen|tag|abend)|danke|tschüss|auf wiedersehen|bonjour|salut|merci|au revoir|hola|buenos días"
    r"|buenas tardes|gracias|adiós|olá|bom dia|obrigad[oa]|ciao|buongiorno|grazie|arrivederci"
    r"|goedemorgen|dank je|こんにちは|おはよう|ありがとう|你好|谢谢|大家好)\b",
    re.IGNORECASE,
)
# A greeting may have so many words; a longer sentence says something else, too.
_MOST_OF_GREETING = 8
# How much closeness to the centre counts, against difference from what is picked (Carbonell and Goldstein,
# SIGIR 1998).
_CENTRAL = 0.7
# Sentences from which the usual likeness is computed: a matrix of all could be too large.
_SAMPLE = 400
# What a number or a name adds to the closeness, in standard deviations, because facts are useful.
_FACT = 0.3


def representative(texts: Sequence[str], vectors: NDArray[np.float32], count: int) -> list[int]:
    """Indices of at most `count` sentences that stand for all, the most important first.

    `vectors`: the sentences' embeddings, one unit vector a row. Questions, greetings, fragments and
    repetitions are no candidates; if nothing else is there, all sentences are. Call this in a thread if there
    are thousands of sentences.
    """
    if not texts or count <= 0:
        return []
    candidates = [at for at, text in enumerate(texts) if is_statement(text)] or list(range(len(texts)))
    chosen = vectors[candidates]
    central = _standardized(chosen @ _unit(vectors.mean(axis=0)))
    central += _FACT * np.array([_facts(texts[at]) for at in candidates], np.float32)
    # Embeddings of one model are all alike to some degree; only what is above the usual counts.
    sample = chosen[:: max(len(chosen) // _SAMPLE, 1)]
    likeness = sample @ sample.T
    usual, spread = float(np.median(likeness)), float(likeness.std()) or 1.0
    nearest = np.full(len(candidates), usual, np.float32)
    picked: list[int] = []
    said: list[frozenset[str]] = []
    left = np.ones(len(candidates), np.bool_)
    while len(picked) < count:
        gain = _CENTRAL * central - (1 - _CENTRAL) * (nearest - usual) / spread
        for best in (int(at) for at in (-gain).argsort(kind="stable") if left[at]):
            left[best] = False  # picked now, or never, because it says the same as a picked one
            words = content_of(texts[candidates[best]]).words
            if not any(say_the_same(words, other) for other in said):
                said.append(words)
                picked.append(best)
                nearest = np.maximum(nearest, chosen @ chosen[best])
                break
        else:
            break
    return [candidates[at] for at in picked]


def is_statement(text: str) -> bool:
    """Whether a sentence says something by itself: it is no question, no greeting and no fragment."""
    words = word_count(text)
    if words < _LEAST_WORDS or _QUESTION.search(text):
        return False
    return not (words <= _MOST_OF_GREETING and _GREETING.match(text))


def _facts(text: str) -> int:
    found = content_of(text)
    return min(len(found.numbers) + len(found.names), 3)


def _standardized(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values - values.mean()) / (float(values.std()) or 1.0)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / (float(vector @ vector) ** 0.5 or 1.0)
