"""The remote model that a slot's setting names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.language_models.engines import anthropic_messages, chat_completions, gemini_content
from lapel.slices.language_models.engines.remote_model import RemoteModel
from lapel.slices.language_models.engines.sse_reader import AnswerBounds
from lapel.slices.providers.http.account import Account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.core.clock import Clock
    from lapel.foundation.outbound.policy import OutboundPolicy
    from lapel.slices.language_models.engines.dialect import Dialect
    from lapel.slices.language_models.language_model import Purpose
    from lapel.slices.providers.service import SlotChoice

# A reader of Ask waits for at most 100 s. A summary of many hours is long work in a worker.
BOUNDS: Mapping[Purpose, AnswerBounds] = {
    "ask": AnswerBounds(first=60.0, between=30.0, total=100.0),
    "summary": AnswerBounds(first=180.0, between=60.0, total=900.0),
}
# A server of one's own may silently cut off what is longer than its window, and Ollama's may be so small.
_UNKNOWN_WINDOW = 4096
_WINDOWS = {"openai": 922_000, "anthropic": 1_000_000, "gemini": 1_048_576}
# Models with smaller windows than the others of their maker, by the beginnings of their names.
_SMALLER = {"claude-haiku-4": 200_000, "gpt-5": 400_000, "gpt-4o": 128_000}


def remote_model(
    choice: SlotChoice, *, own: bool, bounds: AnswerBounds, clock: Clock, policy: OutboundPolicy
) -> RemoteModel:
    """The model of a slot with a remote engine. `own`: at an address of the engine's vendor.

    Raises ValueError for an engine that is no language model.
    """
    dialect: Dialect
    match choice.engine:
        case "openai":
            name, base_url = "OpenAI", chat_completions.BASE_URL
            model = choice.model or chat_completions.MODEL
            dialect = chat_completions.ChatCompletions(model, own=own)
            headers = {"Authorization": f"Bearer {choice.key}"}
        case "anthropic":
            name, base_url = "Anthropic", anthropic_messages.BASE_URL
            model = choice.model or anthropic_messages.MODEL
            dialect = anthropic_messages.AnthropicMessages(model)
            headers = {"x-api-key": choice.key or ""}
        case "gemini":
            name, base_url = "Gemini", gemini_content.BASE_URL
            model = choice.model or gemini_content.MODEL
            dialect = gemini_content.GeminiContent(model)
            headers = {"x-goog-api-key": choice.key or ""}
        case _:
            raise ValueError(f"{choice.engine} is no language model")
    headers = headers if choice.key else {}
    if choice.engine == "anthropic":
        headers["anthropic-version"] = anthropic_messages.VERSION
    account = Account(
        name=name if own else f"{name}'s API at your own address",
        slot=choice.slot,
        base_url=choice.base_url or base_url,
        key=choice.key,
        headers=headers,
    )
    return RemoteModel(
        dialect,
        account,
        bounds,
        model=model,
        context_tokens=choice.context_tokens or _window(choice.engine, model, own=own),
        clock=clock,
        policy=policy,
        adapts=choice.engine == "openai" and not own,
        monthly=choice.engine == "anthropic" and own,
    )


def usual_model(engine: str) -> str:
    """The model that an engine is asked for if the operator names none."""
    usual = {
        "openai": chat_completions.MODEL,
        "anthropic": anthropic_messages.MODEL,
        "gemini": gemini_content.MODEL,
    }
    return usual[engine]


def _window(engine: str, model: str, *, own: bool) -> int:
    if not own:
        return _UNKNOWN_WINDOW
    return next((size for name, size in _SMALLER.items() if model.startswith(name)), _WINDOWS[engine])
