"""OpenAI's Chat Completions, also spoken by vLLM, llama.cpp, Ollama and most gateways.

Sources: openai 3.57.0, types/chat; vLLM's, llama.cpp's and Ollama's pages on OpenAI compatibility, November
2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.language_models.engines.dialect import EventPiece, Feature, ModelRequest, status_of
from lapel.slices.language_models.language_model import FinishReason, Tokens

if TYPE_CHECKING:
    from lapel.slices.language_models.language_model import Prompt

BASE_URL = "https://api.openai.com/v1"
# The cheapest current model; its window takes the longest recording.
MODEL = "gpt-6-luna"
# Tokens that a model may think before it answers; they count towards the limit of the answer.
_THINKING = 4096
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop", "length": "length", "content_filter": "content_filter",
}  # fmt: skip
_DONE = b"[DONE]"


class _TextPart(msgspec.Struct, frozen=True):
    text: str = ""


class _ChatText(msgspec.Struct, frozen=True):
    content: str | Sequence[_TextPart] | None = None
    refusal: str | None = None


class _ChatChoice(msgspec.Struct, frozen=True):
    delta: _ChatText | None = None
    message: _ChatText | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _ChatUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _ChatError(msgspec.Struct, frozen=True):
    code: str | int | None = None
    type: str | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: Sequence[_ChatChoice] = ()
    model: str | None = None
    usage: _ChatUsage | None = None
    error: _ChatError | str | None = None
    object: str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChatCompletions:
    """The dialect. `own`: at OpenAI's own address, whose fields differ from those that other servers know."""

    def __init__(self, model: str, *, own: bool) -> None:
        self.thinking_tokens = _THINKING if own else 0
        self._model = model
        self._own = own

    def request(self, prompt: Prompt, left_out: frozenset[Feature]) -> ModelRequest:
        """See `Dialect.request`."""
        newer = self._own != ("limit" in left_out)
        body: dict[str, object] = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": self._instructions(prompt)},
                *({"role": each.role, "content": each.text} for each in prompt.messages),
            ],
            "max_completion_tokens" if newer else "max_tokens": prompt.max_tokens + self.thinking_tokens,
            "stream": True,
        }
        if "stream_usage" not in left_out:
            body["stream_options"] = {"include_usage": True}
        if prompt.schema is not None and "schema" not in left_out:
            form = {"name": prompt.name, "schema": prompt.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if self._own:
            body["store"] = False
            if self._model.startswith("gpt-6"):
                body["reasoning_effort"] = "low"
        return ModelRequest(path="/chat/completions", body=msgspec.json.encode(body))

    def _instructions(self, prompt: Prompt) -> str:
        """The instructions. Other servers may not enforce a schema, and then the model does not see it."""
        if prompt.schema is None or self._own:
            return prompt.instructions
        schema = msgspec.json.encode(prompt.schema).decode()
        return f"{prompt.instructions}\n\nAnswer with one JSON object that matches this JSON Schema: {schema}"

    def read(self, data: bytes) -> EventPiece | None:
        """See `Dialect.read`. Raises msgspec.ValidationError or msgspec.DecodeError if the data is no
        chunk of an answer."""
        if data.strip() == _DONE:
            return None
        chunk = _decode(data)
        if chunk.error:
            told = chunk.error if isinstance(chunk.error, _ChatError) else _ChatError()
            return EventPiece(error=(status_of(told.code, told.type), data))
        if chunk.object == "error":
            return EventPiece(error=(500, data))
        if not chunk.choices and chunk.usage is None and chunk.model is None:
            raise msgspec.ValidationError("it is no chunk of an answer")
        choice = chunk.choices[0] if chunk.choices else _ChatChoice()
        said = choice.delta or choice.message or _ChatText()
        content = said.content or ""
        text = content if isinstance(content, str) else "".join(each.text for each in content)
        reason = choice.finish_reason
        return EventPiece(
            text=text,
            model=chunk.model,
            tokens=_tokens(chunk.usage),
            finish=_FINISH.get(reason or ""),
            refusal=said.refusal,
            unknown=reason if reason and reason not in _FINISH else None,
        )


def _tokens(usage: _ChatUsage | None) -> Tokens | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    return Tokens(
        input=usage.prompt_tokens,
        output=usage.completion_tokens,
        cached=details.cached_tokens if details else None,
        cache_written=(details.cache_write_tokens or None) if details else None,
    )
