"""Anthropic's Messages, version 2026-10-21. Source: anthropic 2.14.0, types; platform.claude.com, "Versions",
"Structured outputs" and "Errors", November 2026."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.support.language_services.asked import Answer, Asked, Refuse, objects_in, pieces_of

PATH = re.compile(r"/v1/messages")
_FIELDS = frozenset(
    {
        "model", "max_tokens", "system", "messages", "output_config", "tools", "tool_choice", "thinking",
        "stream", "stop_sequences", "metadata", "service_tier", "inference_geo", "cache_control",
    }
)  # fmt: skip
_KEYWORDS = frozenset(
    {
        "type", "title", "description", "properties", "required", "additionalProperties", "items", "enum",
        "const", "anyOf", "allOf", "$defs", "$ref", "format", "minItems", "default",
    }
)  # fmt: skip
_FINISH = {"stop": "end_turn", "length": "max_tokens", "filter": "refusal"}


def refuse(status: int, message: str, kind: str = "invalid_request_error") -> Refuse:
    """A refusal in Anthropic's form."""
    told = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return Refuse(status, told)


def asked(headers: Any, body: dict[str, Any], key: str | None, path: str, *, own: bool) -> Asked:
    """What is asked. Raises Refuse."""
    del path, own
    if key is not None and headers.get("x-api-key") != key:
        raise refuse(401, "invalid x-api-key", "authentication_error")
    if headers.get("anthropic-version") != "2026-10-21":
        raise refuse(400, f"anthropic-version: {headers.get('anthropic-version')} is not a version")
    for name in body.keys() - _FIELDS:
        raise refuse(400, f"{name}: Extra inputs are not permitted")
    if not isinstance(body.get("max_tokens"), int):
        raise refuse(400, "max_tokens: Field required")
    if not body["messages"] or body["messages"][-1]["role"] != "user":
        raise refuse(400, "messages: the last message must be the user's (no prefill)")
    if any(not each["content"] for each in body["messages"]):
        raise refuse(400, "messages: text content blocks must be non-empty")
    form = body.get("output_config", {}).get("format")
    messages = [(each["role"], _text(each["content"])) for each in body["messages"]]
    return Asked(
        model=body["model"],
        instructions=body.get("system", ""),
        messages=messages,
        max_tokens=body["max_tokens"],
        schema=None if form is None else _schema(form),
        body=body,
    )


def _text(content: str | list[dict[str, Any]]) -> str:
    """The text of a message: as it is, or in blocks, at most four of which end what is cached."""
    if isinstance(content, str):
        return content
    for at, block in enumerate(content):
        for name in block.keys() - {"type", "text", "cache_control", "citations"}:
            raise refuse(400, f"messages: content.{at}.{name}: Extra inputs are not permitted")
        if block.get("type") != "text":
            raise refuse(400, f"messages: content.{at}.type: only text blocks are written here")
        if not block.get("text"):
            raise refuse(400, "messages: text content blocks must be non-empty")
        mark = block.get("cache_control")
        if mark is not None and (
            mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in ("5m", "1h")
        ):
            raise refuse(400, f"messages: content.{at}.cache_control: invalid")
    if sum("cache_control" in block for block in content) > 4:
        raise refuse(400, "A maximum of 4 blocks with cache_control may be provided.")
    return "".join(block["text"] for block in content)


def _schema(form: dict[str, Any]) -> dict[str, Any]:
    if form.keys() != {"type", "schema"} or form["type"] != "json_schema":
        raise refuse(400, "output_config.format: invalid")
    for each in objects_in(form["schema"]):
        if each.keys() - _KEYWORDS:
            raise refuse(400, f"output_config.format.schema: {sorted(each.keys() - _KEYWORDS)} not supported")
        if each.get("type") == "object" and each.get("additionalProperties") is not False:
            raise refuse(400, "output_config.format.schema: additionalProperties must be false")
        if each.get("minItems", 0) not in (0, 1):
            raise refuse(400, "output_config.format.schema: minItems must be 0 or 1")
    return form["schema"]


def events(ask: Asked, answer: Answer, size: int) -> Iterator[tuple[str | None, Any]]:
    """The events of the stream: (name, JSON)."""
    sent, written, cached = answer.usage or (0, 0, 0)
    begin: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
    }
    if answer.usage is not None:
        begin["usage"] = {
            "input_tokens": sent - cached, "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0, "output_tokens": 1,
        }  # fmt: skip

    def event(kind: str, **rest: Any) -> tuple[str, Any]:
        return kind, {"type": kind} | rest

    def delta(index: int, inner: dict[str, Any]) -> tuple[str, Any]:
        return event("content_block_delta", index=index, delta=inner)

    yield event("message_start", message=begin)
    yield event(
        "content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "text": ""}
    )
    yield delta(0, {"type": "thinking_delta", "thinking": "Let me see."})
    yield delta(0, {"type": "signature_delta", "signature": "abc"})
    yield event("content_block_stop", index=0)
    yield event("ping")
    yield event("content_block_start", index=1, content_block={"type": "text", "text": ""})
    for piece in pieces_of(answer.text, size):
        yield delta(1, {"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=1)
    finish: dict[str, Any] = {"stop_reason": _FINISH.get(answer.finish, answer.finish), "stop_sequence": None}
    if answer.refusal is not None:
        finish = {
            "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "explanation": answer.refusal},
        }
    usage = {} if answer.usage is None else {"usage": {"output_tokens": written}}
    yield event("message_delta", delta=finish, **usage)
    yield event("message_stop")


def whole(ask: Asked, answer: Answer) -> Any:
    """The answer of a server that does not stream."""
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": ask.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": _FINISH.get(answer.finish, answer.finish),
    }  # fmt: skip


def error(message: str) -> tuple[str | None, Any]:
    """An error in the middle of a stream."""
    return "error", {"type": "error", "error": {"type": "overloaded_error", "message": message}}
