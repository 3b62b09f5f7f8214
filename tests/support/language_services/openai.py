"""OpenAI's Chat Completions. Source: openai 3.57.0, types/chat; "Structured outputs", November 2026.

`own`: at OpenAI itself; otherwise a server of another maker, which knows fewer fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.support.language_services.asked import Answer, Asked, Refuse, depth_of, objects_in, pieces_of

PATH = re.compile(r"/v1/chat/completions")
_FIELDS = frozenset(
    {
        "model", "messages", "max_completion_tokens", "response_format", "reasoning_effort", "verbosity",
        "stream", "stream_options", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    }
)  # fmt: skip
_OTHERS = frozenset(
    {"model", "messages", "max_tokens", "response_format", "stream", "stream_options", "reasoning_effort"}
)
_FORBIDDEN = {"allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"}
_FINISH = {"stop": "stop", "length": "length", "filter": "content_filter"}


def refuse(status: int, message: str, code: str | None = None, kind: str = "invalid_request_error") -> Refuse:
    """A refusal in OpenAI's form."""
    return Refuse(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})


def asked(headers: Any, body: dict[str, Any], key: str | None, path: str, *, own: bool) -> Asked:
    """What is asked. Raises Refuse."""
    del path
    if key is not None and headers.get("Authorization") != f"Bearer {key}":
        raise refuse(401, f"Incorrect API key provided: {headers.get('Authorization')}", "invalid_api_key")
    for name in body.keys() - (_FIELDS if own else _OTHERS):
        raise refuse(
            400, f"Unsupported parameter: '{name}' is not supported with this model.", "unsupported_parameter"
        )
    if own and body.get("reasoning_effort") not in (None, "none", "low", "medium", "high", "xhigh", "max"):
        raise refuse(400, "Invalid value for reasoning_effort.")
    for each in body["messages"]:
        if each.keys() != {"role", "content"} or each["role"] not in ("system", "user", "assistant"):
            raise refuse(400, f"Invalid message: {each}")
    form = body.get("response_format")
    schema = None if form is None else _schema(form)
    system = [each["content"] for each in body["messages"] if each["role"] == "system"]
    return Asked(
        model=body["model"],
        instructions="\n".join(system),
        messages=[(each["role"], each["content"]) for each in body["messages"] if each["role"] != "system"],
        max_tokens=body["max_completion_tokens" if own else "max_tokens"],
        schema=schema,
        body=body,
    )


def _schema(form: dict[str, Any]) -> dict[str, Any]:
    inner = form.get("json_schema", {})
    schema = inner.get("schema")
    if form.get("type") != "json_schema" or inner.get("strict") is not True:
        raise refuse(400, "Invalid response_format.")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", inner.get("name", "")):
        raise refuse(400, "Invalid 'response_format.json_schema.name'.")
    if schema.get("type") != "object" or depth_of(schema) > 10:
        raise refuse(400, "Invalid schema for response_format: the root must be an object of 10 levels.")
    for each in objects_in(schema):
        if _FORBIDDEN & each.keys():
            raise refuse(400, f"Invalid schema for response_format: {sorted(_FORBIDDEN & each.keys())}.")
        if each.get("type") == "object" and (
            each.get("additionalProperties") is not False
            or set(each.get("required", [])) != set(each["properties"])
        ):
            raise refuse(400, "Invalid schema for response_format: not strict.")
    return schema


def events(ask: Asked, answer: Answer, size: int) -> Iterator[tuple[str | None, Any]]:
    """The events of the stream: (name, JSON)."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": ask.model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> tuple[None, Any]:
        return None, base | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    if answer.refusal is not None:
        yield chunk({"refusal": answer.refusal})
    for piece in pieces_of(answer.text, size):
        yield chunk({"content": piece})
    yield chunk({}, _FINISH.get(answer.finish, answer.finish))
    if answer.usage is not None and ask.body.get("stream_options") == {"include_usage": True}:
        sent, written, cached = answer.usage
        usage = {
            "prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written,
            "prompt_tokens_details": {"cached_tokens": cached},
        }  # fmt: skip
        yield None, base | {"choices": [], "usage": usage}
    yield None, "[DONE]"


def whole(ask: Asked, answer: Answer) -> Any:
    """The answer of a server that does not stream."""
    message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    finish = _FINISH.get(answer.finish, answer.finish)
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "model": ask.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }  # fmt: skip


def error(message: str) -> tuple[str | None, Any]:
    """An error in the middle of a stream."""
    return None, {"error": {"message": message, "type": "server_error", "code": None}}
