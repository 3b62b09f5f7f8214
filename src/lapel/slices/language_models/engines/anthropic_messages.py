"""Anthropic's Messages. Source: anthropic 2.14.0, types; "Versions", "Structured outputs" and "Errors" at
platform.claude.com, October and November 2026."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.language_models.engines.dialect import EventPiece, Feature, ModelRequest, status_of
from lapel.slices.language_models.language_model import FinishReason, Tokens

if TYPE_CHECKING:
    from lapel.slices.language_models.language_model import Message, Prompt

BASE_URL = "https://api.anthropic.com"
# The cheapest current model.
MODEL = "claude-haiku-5-5"
# This version refuses `temperature`, `top_p` and `top_k`.
VERSION = "2026-10-21"
# Tokens that a model may think before it answers; they count towards the limit of the answer.
_THINKING = 4096
_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "refusal": "content_filter",
}  # fmt: skip
_WINDOW = "model_context_window_exceeded"


class _AnthropicUsage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _StopDetails(msgspec.Struct, frozen=True):
    explanation: str | None = None


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""


class _AnthropicDelta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str = ""
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None


class _AnthropicMessage(msgspec.Struct, frozen=True):
    model: str | None = None
    usage: _AnthropicUsage | None = None


class _AnthropicError(msgspec.Struct, frozen=True):
    type: str = ""


class _AnthropicEvent(msgspec.Struct, frozen=True):
    """An event of a stream, or a whole message (`type` is `message`)."""

    type: str
    message: _AnthropicMessage | None = None
    delta: _AnthropicDelta | None = None
    usage: _AnthropicUsage | None = None
    error: _AnthropicError | None = None
    content: list[_Block] = []
    content_block: _Block | None = None
    model: str | None = None
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None


_decode = msgspec.json.Decoder(_AnthropicEvent).decode


class AnthropicMessages:
    """The dialect."""

    def __init__(self, model: str) -> None:
        self.thinking_tokens = _THINKING
        self._model = model

    def request(self, prompt: Prompt, left_out: frozenset[Feature]) -> ModelRequest:
        """See `Dialect.request`."""
        del left_out  # Anthropic knows all that is sent
        body: dict[str, object] = {
            "model": self._model,
            "max_tokens": prompt.max_tokens + self.thinking_tokens,
            "system": prompt.instructions,
            "messages": [{"role": each.role, "content": _content(each)} for each in prompt.messages],
            "stream": True,
        }
        if prompt.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": prompt.schema}}
        return ModelRequest(path="/v1/messages", body=msgspec.json.encode(body))

    def read(self, data: bytes) -> EventPiece | None:
        """See `Dialect.read`. Raises msgspec.MsgspecError if the data is no event."""
        event = _decode(data)
        match event.type:
            case "message_stop":
                return None
            case "error":
                return EventPiece(error=(status_of(event.error.type if event.error else None), data))
            case "message_start":
                message = event.message or _AnthropicMessage()
                return EventPiece(model=message.model, tokens=_tokens(message.usage))
            case "content_block_start":
                block = event.content_block or _Block()
                return EventPiece(text=block.text if block.type == "text" else "")
            case "content_block_delta":
                delta = event.delta or _AnthropicDelta()
                return EventPiece(text=delta.text if delta.type == "text_delta" else "")
            case "message_delta":
                delta = event.delta or _AnthropicDelta()
                return _ended(delta.stop_reason, delta.stop_details, EventPiece(tokens=_tokens(event.usage)))
            case "message":  # a server that does not stream
                text = "".join(each.text for each in event.content if each.type == "text")
                whole = EventPiece(text=text, model=event.model, tokens=_tokens(event.usage))
                return _ended(event.stop_reason, event.stop_details, whole)
            case _:  # `ping`, and events to come
                return EventPiece()


def _content(message: Message) -> object:
    """A message's text. Anthropic keeps its work up to a mark for five minutes, if that is some 1,000 tokens
    or more: the first reader pays a quarter more for them, and the next ones a tenth."""
    if not message.fixed:
        return message.text
    blocks: list[dict[str, object]] = [
        {"type": "text", "text": message.text[: message.fixed], "cache_control": {"type": "ephemeral"}}
    ]
    rest = message.text[message.fixed :]
    return [*blocks, {"type": "text", "text": rest}] if rest else blocks


def _ended(reason: str | None, details: _StopDetails | None, piece: EventPiece) -> EventPiece:
    if reason is None:
        return piece
    return msgspec.structs.replace(
        piece,
        finish=_FINISH.get(reason),
        refusal=details.explanation if reason == "refusal" and details else None,
        unknown=reason if reason not in _FINISH and reason != _WINDOW else None,
        too_long=reason == _WINDOW,
    )


def _tokens(usage: _AnthropicUsage | None) -> Tokens | None:
    """The tokens so far; `input_tokens` of Anthropic are those that are not in its cache."""
    if usage is None:
        return None
    cached = usage.cache_read_input_tokens
    sent = usage.input_tokens
    if sent is not None:
        sent += (cached or 0) + (usage.cache_creation_input_tokens or 0)
    return Tokens(
        input=sent,
        output=usage.output_tokens,
        cached=cached,
        cache_written=usage.cache_creation_input_tokens or None,
    )
