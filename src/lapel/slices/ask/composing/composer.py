"""Makes an answer: a language model, whose sentences are checked, or the extractive engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.core.admission import Admission, NoRoom
from lapel.foundation.core.errors import Unavailable
from lapel.slices.ask.composing.answer_prompt import (
    continued,
    prompt_of,
    room_for_passages,
    tokens_of,
    written_passages,
)
from lapel.slices.ask.composing.extracts import extracted
from lapel.slices.ask.composing.model_answer import write_answer
from lapel.slices.ask.composing.passage_judge import PassageJudge
from lapel.slices.ask.composing.refusal_sentences import refusal_for
from lapel.slices.ask.wire import Part, TextPart
from lapel.slices.claims.service import reader_of
from lapel.slices.language_models.service import EXTRACTIVE, FinishReason, ModelFailed, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.ask.composing.answer_progress import AnswerProgress
    from lapel.slices.ask.composing.passages import Passage
    from lapel.slices.ask.composing.retrieval import Retrieval
    from lapel.slices.ask.questions.asked_question import AskedQuestion
    from lapel.slices.claims.service import ClaimJudge
    from lapel.slices.embeddings.service import Embeddings
    from lapel.slices.language_models.service import LanguageModel, LanguageModels, LanguageSlot
    from lapel.slices.search.service import FoundPassage

# With no more sentences than this, the extractive engine looks at the whole transcript of a recording. A
# transcript of more bytes, its words with their times included, has more sentences.
_FEW = 10
_SHORT_BYTES = 256 * 1024
# A spoken token needs some 60 bytes of a transcript with its words. A transcript with far more bytes than the
# window has room for is not read to find out that it does not fit.
_BYTES_OF_TOKEN = 400
# Extractive answers that a process makes at once, and the seconds that one waits for its turn. They compute
# in this process, so many more at once would only make each of them slower.
_EXTRACTING, _PATIENCE = 8, 30.0


class Stopped(Exception):  # it is no error of ours
    """The answer was stopped before there was anything to store."""


class Composed(msgspec.Struct, frozen=True, kw_only=True):
    """A finished answer, and all that it was made from.

    `sources`: the passages to show. `recording_ids`: the recordings of its passages; none of a session about
    one recording, which is deleted with it. `places`: of the session's answers that this one continues.
    """

    parts: list[Part]
    model: str | None
    tokens: Tokens
    finish_reason: FinishReason
    sources: list[FoundPassage]
    recording_ids: list[str]
    places: list[int]


class Composer:
    """Composes answers. One object per process."""

    def __init__(
        self, models: LanguageModels, retrieval: Retrieval, embeddings: Embeddings, judge: ClaimJudge
    ) -> None:
        self._models = models
        self._retrieval = retrieval
        self._embeddings = embeddings
        self._judge = judge
        # A world holds at most half of the places that the others leave, and a free place goes to the world
        # that holds the fewest: so the questions of one project hold up no other's.
        self._extracting = Admission(_EXTRACTING, None, patience=_PATIENCE)

    async def compose(self, asked: AskedQuestion, slot: LanguageSlot, progress: AnswerProgress) -> Composed:
        """The answer to a question; `progress` shows it while it grows.

        Raises ModelFailed and ModelAway when the model fails, Stopped when the answer was stopped before it
        said anything, Unavailable when too many answers are being made, and what Retrieval raises.
        """
        asked, told = await self._retrieval.limited(asked)
        if told is not None:
            return _told(told, progress)
        async with self._models.using(asked.world_id, slot, purpose="ask") as model:
            if model is None:
                return await self._extract_in_turn(asked, progress)
            return await self._generate(asked, model, progress)

    async def _extract_in_turn(self, asked: AskedQuestion, progress: AnswerProgress) -> Composed:
        try:
            async with self._extracting.place(asked.world_id):
                return await self._extract(asked, progress)
        except NoRoom:
            raise Unavailable(
                "Too many answers are being made for this project. Ask again.", retry_after=5
            ) from None

    async def _extract(self, asked: AskedQuestion, progress: AnswerProgress) -> Composed:
        passages = await passages_to_extract(self._retrieval, asked)
        progress.recording_ids = recording_ids = _recordings(asked, passages)
        parts = await extracted(asked.question, passages, self._embeddings)
        progress.show(parts or _refusal(asked))
        return Composed(
            parts=parts or _refusal(asked),
            model=EXTRACTIVE,
            tokens=Tokens(),
            finish_reason="stop",
            sources=_sources(asked, passages),
            recording_ids=recording_ids,
            places=[],
        )

    async def _generate(
        self, asked: AskedQuestion, model: LanguageModel, progress: AnswerProgress
    ) -> Composed:
        turns = continued(asked.turns, model.context_tokens)
        room = room_for_passages(model.context_tokens, asked.question, turns)
        passages, lines, is_whole = await self._material(asked, room)
        progress.recording_ids = recording_ids = _recordings(asked, passages)
        progress.places = places = [each.place for each in turns if each.role == "assistant"]
        judge = PassageJudge(passages, self._judge, reader_of(model, asked.second_reader))
        prompt = prompt_of(asked, lines, turns, is_whole=is_whole)
        whole = await write_answer(model, prompt, judge, progress)
        parts, reason = whole.parts, whole.finish_reason
        if not parts:
            if progress.stop_wanted.is_set():
                raise Stopped
            parts, reason = _refusal(asked), "content_filter" if reason == "content_filter" else "stop"
        progress.show(parts)
        return Composed(
            parts=parts,
            model=whole.model,
            tokens=whole.tokens,
            finish_reason=reason,
            sources=_sources(asked, passages),
            recording_ids=recording_ids,
            places=places,
        )

    async def _material(self, asked: AskedQuestion, room: int) -> tuple[list[Passage], list[str], bool]:
        """The passages that fit into `room` tokens, with their lines: of the whole transcript if all of it
        fits, else what a search finds; and whether they are the whole."""
        if asked.scope_type == "recording":
            passages = await self._retrieval.whole(asked, most_bytes=room * _BYTES_OF_TOKEN)
            lines = written_passages(passages, asked.zone)
            if passages and tokens_of(lines) <= room:
                return passages, lines, True
        passages = await self._retrieval.found(asked)
        lines = written_passages(passages, asked.zone)
        while lines and tokens_of(lines) > room:
            lines.pop()
        if passages and not lines:
            raise ModelFailed("context", "The window of the model is too small for the question.")
        return passages[: len(lines)], lines, False


async def passages_to_extract(retrieval: Retrieval, asked: AskedQuestion) -> Sequence[Passage]:
    """What the extractive engine looks at: the whole transcript of a recording if it is short, else what a
    search finds. Raises what Retrieval raises."""
    passages: list[Passage] = []
    if asked.scope_type == "recording":
        passages = await retrieval.whole(asked, most_bytes=_SHORT_BYTES)
    if not passages or sum(len(each.sentences) for each in passages) > _FEW:
        passages = await retrieval.found(asked)
    return passages


def _told(sentence: str, progress: AnswerProgress) -> Composed:
    """An answer that needs neither a model nor a transcript."""
    parts: list[Part] = [TextPart(text=sentence)]
    progress.show(parts)
    return Composed(
        parts=parts,
        model=EXTRACTIVE,
        tokens=Tokens(),
        finish_reason="stop",
        sources=[],
        recording_ids=[],
        places=[],
    )


def _refusal(asked: AskedQuestion) -> list[Part]:
    return [TextPart(text=refusal_for(asked.question))]


def _sources(asked: AskedQuestion, passages: Sequence[Passage]) -> list[FoundPassage]:
    """The passages to show. A session about one recording shows none."""
    return [] if asked.scope_type == "recording" else [each.found for each in passages if each.found]


def _recordings(asked: AskedQuestion, passages: Sequence[Passage]) -> list[str]:
    """The recordings that passages are of. A session about one recording is deleted with it anyway."""
    return [] if asked.scope_type == "recording" else sorted({each.recording_id for each in passages})
