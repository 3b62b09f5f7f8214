"""Lets a model write an answer, and once more with what was wrong in it.

Sentences are shown when they are judged, so what was shown stays. If a second reader leaves statements out,
the model is told which and why, and what it writes instead follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.ask.composing.answer_draft import MAX_PARTS, AnswerDraft
from lapel.slices.ask.composing.answer_prompt import NOT_THERE
from lapel.slices.ask.wire import Part, TextPart
from lapel.slices.language_models.service import (
    FinishReason,
    Generated,
    Message,
    ModelAway,
    ModelFailed,
    Tokens,
    added,
    json_line,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from lapel.slices.ask.composing.answer_progress import AnswerProgress
    from lapel.slices.ask.composing.passage_judge import PassageJudge
    from lapel.slices.language_models.service import LanguageModel, Prompt

# Characters of the first answer that the model sees again, and statements that it is told of.
_MOST_ANSWER, _MOST_STATEMENTS = 8_000, 8


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a model's answer. `tokens`: of all calls, those of a second reader included."""

    parts: list[Part]
    model: str | None
    tokens: Tokens
    finish_reason: FinishReason


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """How a model's text ended. `text`: the whole text; None if its rest was not wanted."""

    text: str | None
    model: str | None
    tokens: Tokens
    finish_reason: FinishReason


async def write_answer(
    model: LanguageModel, prompt: Prompt, judge: PassageJudge, progress: AnswerProgress
) -> ModelAnswer:
    """Let the model write; `progress` shows each sentence when it is judged. Raises what the model raises
    before the answer's first end."""
    draft = AnswerDraft(judge)
    written = await _write(model, prompt, draft, progress, [])
    parts, tokens = list(draft.parts), written.tokens
    if judge.wrong and written.text is not None and written.finish_reason == "stop":
        again = _repair(prompt, written.text, judge.wrong)
        instead = AnswerDraft(judge, after=draft)
        with contextlib.suppress(ModelFailed, ModelAway):  # the first answer stands
            tokens = added(tokens, (await _write(model, again, instead, progress, parts)).tokens)
        parts = _joined(parts, instead.parts)
    return ModelAnswer(
        parts=parts,
        model=written.model,
        tokens=added(tokens, judge.tokens),
        finish_reason=written.finish_reason,
    )


def _repair(prompt: Prompt, answer: str, wrong: dict[str, str]) -> Prompt:
    """The prompt of the second try."""
    told = "\n".join(
        json_line({"statement": claim, "wrong": why or "the passage does not say this"})
        for claim, why in list(wrong.items())[:_MOST_STATEMENTS]
    )
    text = (
        f"These statements were left out, because the passages do not say them:\n{told}\n\n"
        "Write only what has to stand instead of them, by the same rules, each statement with the number of "
        "its passage. Do not repeat the rest of your answer. If the passages say nothing to put there, write "
        f"exactly: {NOT_THERE}"
    )
    first = Message(role="assistant", text=answer[:_MOST_ANSWER])
    return msgspec.structs.replace(
        prompt, messages=[*prompt.messages, first, Message(role="user", text=text)]
    )


def _joined(parts: Sequence[Part], more: Sequence[Part]) -> list[Part]:
    """The parts of both drafts, with a space between them."""
    if not parts or not more:
        return [*parts, *more]
    first, *rest = more
    if isinstance(first, TextPart):
        first = TextPart(text=f" {first.text}")
    return [*parts, first, *rest][:MAX_PARTS]


async def _write(
    model: LanguageModel, prompt: Prompt, draft: AnswerDraft, progress: AnswerProgress, before: list[Part]
) -> _Written:
    """Let the model write into the draft, until it has ended, or the rest of its text is not wanted. The
    parts `before` it are shown too.

    Raises what the model raises.
    """
    async with (
        aclosing(model.stream(prompt)) as pieces,
        aclosing(_until(progress.stop_wanted, pieces)) as some,
    ):
        async for piece in some:
            if isinstance(piece, Generated):
                await draft.end()
                progress.show(_joined(before, draft.parts))
                return _Written(
                    text=piece.text, model=piece.model, tokens=piece.tokens, finish_reason=piece.finish_reason
                )
            await draft.feed(piece)
            progress.show(_joined(before, draft.parts))
            if draft.is_full:
                break
    # What was said is cut off here, and a sentence that has not ended is left out. The engine has told no
    # number of tokens.
    return _Written(text=None, model=model.name, tokens=Tokens(), finish_reason="length")


async def _until(
    stop: asyncio.Event, pieces: AsyncGenerator[str | Generated]
) -> AsyncGenerator[str | Generated]:
    """The pieces until `stop` is set, also when the next one does not come."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(pieces))
            try:
                await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_late = not coming.done()
                if is_late:
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)
            if is_late:
                return
            try:  # a piece that comes together with the stop was said, too
                yield coming.result()
            except StopAsyncIteration:
                return
            if stopping.done():
                return
    finally:
        stopping.cancel()
