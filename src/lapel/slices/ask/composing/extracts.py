"""The answer of the extractive engine: the sentences that answer a question, each with its second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.ask.errors import told_of_missing_vectors
from lapel.slices.ask.wire import CitationPart, Part, TextPart
from lapel.slices.embeddings.service import cosines
from lapel.slices.language_models.extractive.claim_support import LEAST_WORDS
from lapel.slices.language_models.extractive.content_words import content_of, say_the_same, word_count
from lapel.slices.language_models.extractive.support import (
    FIRST_WEIGHTS,
    NEAR_THE_BEST,
    SUPPORTED,
    AnswerWindow,
    Features,
    features_of,
    score,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.embeddings.service import Embeddings
    from lapel.slices.search.service import Sentence

# The words whose vectors are compared with the question's. The weights were fitted with so many; 160 words
# gave no better first place on the half `choose`.
MOST_WORDS = 100
# The places that an answer cites.
_COUNT = 2
# The share of the question's words that a sentence must have if meanings cannot be compared.
_MOST = 0.6
# The marks at the end of a question, which answers nothing.
_QUESTION_MARKS = ("?", "？", "؟")


class AnswerPlace(msgspec.Struct, frozen=True, kw_only=True):
    """One or two sentences of one speaker in a recording.

    `cited_ms`: when the sentence begins that has most words of the question, in milliseconds from the start
    of the recording. `embedded`: the sentences, and perhaps one before them: the text whose vector is
    compared with the question's.
    """

    recording_id: str
    sentences: list[Sentence]
    cited_ms: int
    embedded: str
    window: AnswerWindow


class AnswerCandidate(msgspec.Struct, frozen=True):
    """A place that may be the answer, and its features; the cosine is not known yet."""

    place: AnswerPlace
    features: Features

    def overlaps(self, other: AnswerCandidate) -> bool:
        """Whether both have a sentence in common."""
        return self.place.recording_id == other.place.recording_id and any(
            each in other.place.sentences for each in self.place.sentences
        )

    def repeats(self, other: AnswerCandidate) -> bool:
        """Whether both say the same."""
        return say_the_same(*(content_of(each.place.window.text).words for each in (self, other)))


async def extracted(question: str, passages: Sequence[Passage], embeddings: Embeddings) -> list[Part]:
    """The parts of the answer; none when no sentence answers the question.

    Without an embedding model, sentences answer if they have most words of the question. Raises Unavailable
    when the model has too much to do.
    """
    # In a thread, because the features of some hundred sentences take longer than a request may block.
    candidates = await asyncio.to_thread(best_candidates, question, passages)
    if not candidates:
        return []
    texts = [each.place.embedded for each in candidates]
    with told_of_missing_vectors():
        own = await embeddings.query(question, waits=True)
        others = await embeddings.sentences(texts, waits=True)
    if own is None or others is None:
        return _parts([each for each in candidates if _has_most(question, each.place.window.text)][:_COUNT])
    scored = [
        (score(with_cosine(each, cosine)), each)
        for each, cosine in zip(candidates, cosines([own, *others]), strict=True)
    ]
    return _parts(chosen(scored))


def all_candidates(question: str, passages: Sequence[Passage]) -> list[AnswerCandidate]:
    """The distinct candidates of all passages."""
    found: dict[tuple[str, int, str], AnswerPlace] = {}
    wanted = content_of(question).words
    for rank, passage in enumerate(passages):
        for each in _places(wanted, rank, passage):
            found.setdefault((each.recording_id, each.cited_ms, each.window.text), each)
    features = features_of(question, [each.window for each in found.values()])
    return [AnswerCandidate(place, own) for place, own in zip(found.values(), features, strict=True)]


def best_candidates(question: str, passages: Sequence[Passage]) -> list[AnswerCandidate]:
    """The candidates that are worth a vector, best first."""
    found = all_candidates(question, passages)
    return worth_a_vector([(score(each.features, FIRST_WEIGHTS), each) for each in found])


def worth_a_vector(scored: Sequence[tuple[float, AnswerCandidate]]) -> list[AnswerCandidate]:
    """The best of these candidates that do not overlap; of at most MOST_WORDS words, or one."""
    best: list[AnswerCandidate] = []
    words = 0
    for _, each in sorted(scored, key=lambda pair: -pair[0]):
        if any(each.overlaps(other) for other in best):
            continue
        words += word_count(each.place.embedded)
        if best and words > MOST_WORDS:
            break
        best.append(each)
    return best


def chosen(
    scored: Sequence[tuple[float, AnswerCandidate]], threshold: float = SUPPORTED
) -> list[AnswerCandidate]:
    """The candidates to answer with, best first. `scored`: with their scores."""
    ordered = sorted(scored, key=lambda pair: -pair[0])
    picked: list[AnswerCandidate] = []
    for value, each in ordered:
        if value < threshold or value < ordered[0][0] - NEAR_THE_BEST or len(picked) == _COUNT:
            break
        if not any(each.overlaps(other) or each.repeats(other) for other in picked):
            picked.append(each)
    return picked


def with_cosine(candidate: AnswerCandidate, cosine: float) -> Features:
    """The features of a candidate whose vector has this cosine with the question's."""
    return msgspec.structs.replace(candidate.features, cosine=cosine)


def _places(wanted: frozenset[str], rank: int, passage: Passage) -> Iterator[AnswerPlace]:
    """A window for each sentence that is no question, with the one before it if the speaker is the same."""
    sentences = passage.sentences
    for at, sentence in enumerate(sentences):
        if _is_question(sentence):
            continue
        before = sentences[at - 1] if at else None
        is_joined = before is not None and before.speaker == sentence.speaker and not _is_question(before)
        own = [before, sentence] if before is not None and is_joined else [sentence]
        near = [*sentences[max(at - len(own), 0) : at - len(own) + 1], *sentences[at + 1 : at + 2]]
        text = " ".join(each.text for each in own)
        yield AnswerPlace(
            recording_id=passage.recording_id,
            sentences=own,
            cited_ms=max(own, key=lambda each: len(content_of(each.text).words & wanted)).start_ms,
            embedded=f"{before.text} {text}" if before is not None and not is_joined else text,
            window=AnswerWindow(
                text=text,
                beside=" ".join(each.text for each in near),
                around=f"{passage.title or ''} {passage.text}",
                rank=rank,
            ),
        )


def _is_question(sentence: Sentence) -> bool:
    return sentence.text.rstrip().endswith(_QUESTION_MARKS)


def _parts(answer: Sequence[AnswerCandidate]) -> list[Part]:
    parts: list[Part] = []
    for each in answer:
        between = " " if parts else ""
        parts.append(TextPart(text=between + each.place.window.text))
        parts.append(CitationPart(recording_id=each.place.recording_id, start_ms=each.place.cited_ms))
    return parts


def _has_most(question: str, text: str) -> bool:
    wanted = content_of(question).words
    shared = len(wanted & content_of(text).words)
    return shared >= min(LEAST_WORDS, len(wanted)) and shared > _MOST * len(wanted)
