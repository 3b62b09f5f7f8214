"""Gemini's `generateContent`. Source: google-genai 3.6.1, types.py; ai.google.dev, October 2026."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.support.language_services.asked import Answer, Asked, Refuse, objects_in, pieces_of

PATH = re.compile(r"/v1beta/models/(?P<model>[^/:]+):streamGenerateContent")
_FIELDS = frozenset({"contents", "systemInstruction", "generationConfig", "safetySettings"})
_CONFIG = frozenset(
    {"maxOutputTokens", "responseMimeType", "responseSchema", "responseJsonSchema", "thinkingConfig"}
)
_KEYWORDS = frozenset(
    {
        "$defs", "$ref", "type", "format", "title", "description", "enum", "items", "prefixItems",
        "minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties",
        "additionalProperties", "required", "propertyOrdering",
    }
)  # fmt: skip
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}


def refuse(status: int, message: str, kind: str = "INVALID_ARGUMENT", *details: Any) -> Refuse:
    """A refusal in Google's form."""
    told = {"code": status, "message": message, "status": kind, "details": list(details)}
    return Refuse(status, {"error": told})


def asked(headers: Any, body: dict[str, Any], key: str | None, path: str, *, own: bool) -> Asked:
    """What is asked. Raises Refuse."""
    del own
    if key is not None and headers.get("x-goog-api-key") != key:
        why = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
        raise refuse(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", why)
    named = PATH.fullmatch(path)
    config = body.get("generationConfig", {})
    unknown = (body.keys() - _FIELDS) | (config.keys() - _CONFIG)
    if named is None or unknown:
        raise refuse(400, f"Invalid JSON payload received. Unknown name: {sorted(unknown)}")
    if any(each["role"] not in ("user", "model") for each in body["contents"]):
        raise refuse(400, "Please use a valid role: user, model.")
    schema = config.get("responseJsonSchema")
    if schema is not None and config.get("responseMimeType") != "application/json":
        raise refuse(400, "responseMimeType must be application/json with a schema")
    for each in objects_in(schema):
        if each.keys() - _KEYWORDS:
            raise refuse(400, f"Unknown keyword in responseJsonSchema: {sorted(each.keys() - _KEYWORDS)}")
    role = {"model": "assistant", "user": "user"}
    return Asked(
        model=named["model"],
        instructions=_text(body.get("systemInstruction", {"parts": []})),
        messages=[(role[each["role"]], _text(each)) for each in body["contents"]],
        max_tokens=config["maxOutputTokens"],
        schema=schema,
        body=body,
    )


def _text(content: dict[str, Any]) -> str:
    return "".join(part["text"] for part in content["parts"])


def events(ask: Asked, answer: Answer, size: int) -> Iterator[tuple[str | None, Any]]:
    """The events of the stream: (name, JSON). Each is an answer of its own; there is no end mark."""
    base: dict[str, Any] = {"modelVersion": ask.model, "responseId": "r1"}
    if answer.usage is not None:
        sent, written, cached = answer.usage
        base["usageMetadata"] = {
            "promptTokenCount": sent, "candidatesTokenCount": written - 5, "thoughtsTokenCount": 5,
            "cachedContentTokenCount": cached, "totalTokenCount": sent + written,
        }  # fmt: skip
    if answer.refusal is not None:
        yield None, base | {"promptFeedback": {"blockReason": answer.refusal}}
        return

    def told(parts: list[Any], finish: str | None = None) -> tuple[None, Any]:
        one: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        return None, base | {"candidates": [one | ({"finishReason": finish} if finish else {})]}

    yield told([{"text": "Let me see.", "thought": True}])
    for piece in pieces_of(answer.text, size):
        yield told([{"text": piece}])
    yield told([], _FINISH.get(answer.finish, answer.finish))


def whole(ask: Asked, answer: Answer) -> Any:
    """The answer of a server that does not stream: a list."""
    return [data for _, data in events(ask, answer, 1000)]


def error(message: str) -> tuple[str | None, Any]:
    """An error in the middle of a stream."""
    return None, {"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}}
