"""Gemini's `generateContent`.

Source: google-genai 3.6.1, types.py; "Changelog" and "Models" at ai.google.dev, October 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from lapel.slices.language_models.engines.dialect import EventPiece, Feature, ModelRequest, status_of
from lapel.slices.language_models.language_model import FinishReason, Tokens

if TYPE_CHECKING:
    from lapel.slices.language_models.language_model import Prompt

BASE_URL = "https://generativelanguage.googleapis.com"
# The cheapest current model.
MODEL = "gemini-3.5-flash-lite"
# Tokens that a model may think before it answers; they count towards the limit of the answer.
_THINKING = 8192
_FILTERS = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"})


class _ContentPart(msgspec.Struct, frozen=True):
    text: str = ""
    # What the model thinks is no part of its answer.
    thought: bool = False


class _Content(msgspec.Struct, frozen=True):
    parts: Sequence[_ContentPart] = ()


class _Candidate(msgspec.Struct, frozen=True, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, frozen=True, rename="camel"):
    block_reason: str | None = None


class _GeminiUsage(msgspec.Struct, frozen=True, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None


class _GeminiError(msgspec.Struct, frozen=True):
    code: int | str | None = None


class _GeminiAnswer(msgspec.Struct, frozen=True, rename="camel"):
    candidates: Sequence[_Candidate] = ()
    prompt_feedback: _Feedback | None = None
    usage_metadata: _GeminiUsage | None = None
    model_version: str | None = None
    error: _GeminiError | None = None


_decode = msgspec.json.Decoder(_GeminiAnswer).decode
_decode_list = msgspec.json.Decoder(list[_GeminiAnswer]).decode


class GeminiContent:
    """The dialect. Each event of a stream is a whole answer with a part of the text; there is no end mark."""

    def __init__(self, model: str) -> None:
        self.thinking_tokens = _THINKING
        self._model = model

    def request(self, prompt: Prompt, left_out: frozenset[Feature]) -> ModelRequest:
        """See `Dialect.request`."""
        del left_out  # Gemini knows all that is sent
        config: dict[str, object] = {"maxOutputTokens": prompt.max_tokens + self.thinking_tokens}
        if prompt.schema is not None:
            config |= {"responseMimeType": "application/json", "responseJsonSchema": prompt.schema}
        body = {
            "systemInstruction": {"parts": [{"text": prompt.instructions}]},
            "contents": [
                {"role": "model" if each.role == "assistant" else "user", "parts": [{"text": each.text}]}
                for each in prompt.messages
            ],
            "generationConfig": config,
        }
        name = quote(self._model, safe="")
        return ModelRequest(
            path=f"/v1beta/models/{name}:streamGenerateContent",
            body=msgspec.json.encode(body),
            query=(("alt", "sse"),),
        )

    def read(self, data: bytes) -> EventPiece | None:
        """See `Dialect.read`. Raises msgspec.MsgspecError if the data is no answer."""
        answers = _decode_list(data) if data.lstrip().startswith(b"[") else [_decode(data)]
        failed = next((each.error for each in answers if each.error), None)
        if failed is not None:
            return EventPiece(error=(status_of(failed.code), data))
        pieces = [_piece(each) for each in answers]
        last = pieces[-1] if pieces else EventPiece()
        return msgspec.structs.replace(last, text="".join(each.text for each in pieces))


def _piece(answer: _GeminiAnswer) -> EventPiece:
    blocked = answer.prompt_feedback.block_reason if answer.prompt_feedback else None
    tokens = _tokens(answer.usage_metadata)
    if blocked:
        return EventPiece(finish="content_filter", refusal=blocked, tokens=tokens, model=answer.model_version)
    if not answer.candidates:
        if tokens is None:
            raise msgspec.ValidationError("it has neither candidates nor usage")
        return EventPiece(tokens=tokens, model=answer.model_version)
    first = answer.candidates[0]
    parts = first.content.parts if first.content else ()
    finish, unknown = _finish(first.finish_reason)
    return EventPiece(
        text="".join(each.text for each in parts if not each.thought),
        model=answer.model_version,
        tokens=tokens,
        finish=finish,
        refusal=first.finish_reason if finish == "content_filter" else None,
        unknown=unknown,
    )


def _finish(reason: str | None) -> tuple[FinishReason | None, str | None]:
    """The reason to stop, and a reason that is none of an answer's."""
    if reason is None or reason == "FINISH_REASON_UNSPECIFIED":
        return None, None
    if reason in _FILTERS:
        return "content_filter", None
    if reason == "MAX_TOKENS":
        return "length", None
    return ("stop", None) if reason == "STOP" else (None, reason)


def _tokens(usage: _GeminiUsage | None) -> Tokens | None:
    if usage is None:
        return None
    written, thought = usage.candidates_token_count, usage.thoughts_token_count
    output = None if written is None and thought is None else (written or 0) + (thought or 0)
    return Tokens(input=usage.prompt_token_count, output=output, cached=usage.cached_content_token_count)
