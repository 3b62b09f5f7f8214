"""The answer of the extractive engine: the sentences that answer a question, each with its second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgspec

from lapel.slices.ask.errors import told_of_missing_vectors
from lapel.slices.ask.wire import CitationPart, Part, TextPart
from lapel.slices.language_models.extractive.claim_support import LEAST_WORDS
from lapel.slices.language_models.extractive.content_words import content_of, word_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.embeddings.service import Embeddings
    from lapel.slices.language_models.extractive.support import Supporting
    from lapel.slices.search.service import Sentence

# Sentences whose vectors are compared with the question's, and the words of all of them: a machine of two
# cores embeds about 1,400 words a second, and the answer shall come at once.
MOST_SENTENCES = 16
MOST_WORDS = 80
# A sentence with a lower share of the best one's score is left out.
_NEAR = 0.85
_COUNT = 3
# The share of the question's words that a sentence must have if meanings cannot be compared.
_MOST = 0.6


class CandidateSentence(msgspec.Struct, frozen=True):
    """A sentence of a recording."""

    recording_id: str
    sentence: Sentence


async def extracted(question: str, passages: Sequence[Passage], embeddings: Embeddings) -> list[Part]:
    """The parts of the answer; none when no sentence answers the question.

    Without an embedding model, a sentence answers if it has most words of the question. Raises Unavailable
    when the model has too much to do.
    """
    candidates = candidates_of(question, passages)
    if not candidates:
        return []
    texts = [each.sentence.text for each in candidates]
    with told_of_missing_vectors():
        own = await embeddings.query(question, waits=True)
        others = await embeddings.sentences(texts, waits=True)
    if own is None or others is None:
        return _parts([each for each in candidates if _has_most(question, each.sentence.text)][:_COUNT])
    # In a thread, because the import of numpy takes longer than a request may block the event loop.
    return await asyncio.to_thread(_supporting, question, candidates, own, others)


def candidates_of(question: str, passages: Sequence[Passage]) -> list[CandidateSentence]:
    """The distinct sentences that are worth a vector, by recording and time.

    Sentences of better passages come first, and those that share words with the question.
    """
    wanted = content_of(question).words
    ranked: dict[tuple[str, int, str], tuple[float, CandidateSentence]] = {}
    for rank, passage in enumerate(passages):
        for sentence in passage.sentences:
            shared = len(wanted & content_of(sentence.text).words) / max(len(wanted), 1)
            key = passage.recording_id, sentence.start_ms, sentence.text
            found = CandidateSentence(passage.recording_id, sentence)
            ranked.setdefault(key, (shared + 1 / (1 + rank), found))
    chosen: list[CandidateSentence] = []
    words = 0
    for _, each in sorted(ranked.values(), key=lambda pair: -pair[0]):
        words += word_count(each.sentence.text)
        if len(chosen) == MOST_SENTENCES or (chosen and words > MOST_WORDS):
            break
        chosen.append(each)
    return sorted(chosen, key=lambda each: (each.recording_id, each.sentence.start_ms))


def _supporting(
    question: str, candidates: Sequence[CandidateSentence], own: bytes, others: Sequence[bytes]
) -> list[Part]:
    import numpy as np  # noqa: PLC0415  # see above

    from lapel.slices.language_models.extractive.support import supported  # noqa: PLC0415

    texts = [each.sentence.text for each in candidates]
    read = cast("Callable[[bytes, str], NDArray[np.float32]]", np.frombuffer)  # typed for any dtype
    vectors = read(b"".join(others), "<f4").reshape(len(others), -1)
    found = supported(question, texts, vectors, read(own, "<f4"), count=_COUNT)
    return _parts([candidates[each.index] for each in near_the_best(found)])


def near_the_best(found: Sequence[Supporting]) -> list[Supporting]:
    """The sentences that answer nearly as well as the first one, which is the best."""
    return [each for each in found if each.score >= _NEAR * found[0].score]


def _parts(chosen: Sequence[CandidateSentence]) -> list[Part]:
    parts: list[Part] = []
    for each in chosen:
        between = " " if parts else ""
        parts.append(TextPart(text=between + each.sentence.text))
        parts.append(CitationPart(recording_id=each.recording_id, start_ms=each.sentence.start_ms))
    return parts


def _has_most(question: str, sentence: str) -> bool:
    wanted = content_of(question).words
    shared = len(wanted & content_of(sentence).words)
    return shared >= min(LEAST_WORDS, len(wanted)) and shared > _MOST * len(wanted)
