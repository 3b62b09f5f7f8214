"""Tests an engine of language models: it answers a question about two sentences, as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.own_server import end_on_sigterm
from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.slices.language_models.service import LanguageModel, Message, Prompt, Tokens, structured
from lapel.slices.providers.service import at_vendor

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.providers.service import SlotChoice

_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
_PROMPT = Prompt(
    instructions="Answer the question from the text alone, in one short sentence.",
    messages=[
        Message(
            role="user",
            text="Text: The kitchen is delivered on Friday. The painters come the day after.\n"
            "Question: When do the painters come?",
        )
    ],
    max_tokens=200,
    schema=_SCHEMA,
)


class _Short(msgspec.Struct, frozen=True):
    answer: str


class TestedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model's answer to the question of the test. `seconds`: how long it took."""

    slot: str
    engine: str
    model: str
    seconds: float
    context_tokens: int
    answer: str
    tokens: Tokens


async def language_tested(ports: Ports, choice: SlotChoice) -> TestedModel:
    """Let the engine of a slot answer the question.

    Raises CommandError when the extractive engine answers, ModelFailed and ModelAway as `structured` does.
    """
    if choice.engine != "local":
        return await _tested(_remote(ports, choice), choice)
    from lapel.slices.language_models.local.local_model import LocalModels  # noqa: PLC0415

    models = LocalModels(ports.settings, is_alone=True)
    model = models.model(0, "ask")
    if model is None:
        raise CommandError(
            "the local engine answers this name with sentences of the transcript, so there is no model to "
            "test. `lapel providers set` chooses another engine, and `lapel doctor` says how to install a "
            "local model."
        )
    end_on_sigterm()  # so that the model's process ends, and its folder is removed
    try:
        return await _tested(model, choice)
    finally:
        await models.aclose()


def _remote(ports: Ports, choice: SlotChoice) -> LanguageModel:
    from lapel.slices.language_models.engines.model_choice import BOUNDS, remote_model  # noqa: PLC0415

    return remote_model(
        choice,
        own=at_vendor(choice),
        bounds=BOUNDS["ask"],
        clock=ports.clock,
        policy=OutboundPolicy.of(ports.settings),
    )


async def _tested(model: LanguageModel, choice: SlotChoice) -> TestedModel:
    began = time.monotonic()
    found, call = await structured(model, _PROMPT, lambda value: msgspec.convert(value, _Short))
    return TestedModel(
        slot=choice.slot,
        engine=choice.engine,
        model=call.model,
        seconds=round(time.monotonic() - began, 2),
        context_tokens=model.context_tokens,
        answer=found.answer,
        tokens=call.tokens,
    )


def model_told(tested: TestedModel) -> str:
    """The answer, for people."""
    used = f"{_count(tested.tokens.input)} tokens in, {_count(tested.tokens.output)} out"
    return "\n".join(
        [
            f"{tested.engine}, {tested.model}: {tested.seconds} s, {used}, window {tested.context_tokens}",
            "",
            "Question: When do the painters come? (They come the day after Friday.)",
            f"Answer:   {tested.answer}",
        ]
    )


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)
