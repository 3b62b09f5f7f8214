"""Ask sessions, messages and answers (section 13)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.strict.lists import page
from tests.support.strict.shapes import (
    Shape,
    agrees,
    all_of,
    array,
    identifier,
    integer,
    null_or,
    number,
    record,
    text,
    time,
    word,
)

_PROVIDER = word("gemini", "openai", "claude")
_TOKEN = null_or(integer())
_SCOPE = all_of(
    record(
        {
            "type": word("recording", "selected", "library"),
            "recording_ids": array(identifier("rec"), most=500),
            "recording_title": null_or(text()),
        }
    ),
    agrees(
        "as many recordings as the type has",
        lambda it: {"recording": len(it["recording_ids"]) == 1, "library": not it["recording_ids"]}.get(
            it["type"], len(it["recording_ids"]) >= 1
        ),
    ),
    agrees("distinct recordings", lambda it: len(set(it["recording_ids"])) == len(it["recording_ids"])),
)
SESSION = all_of(
    record(
        {
            "id": identifier("as"),
            "project_id": identifier("proj"),
            "end_user_id": identifier("eu"),
            "scope": _SCOPE,
            "title": text(1, 200),
            "message_count": integer(),
            "last_message_at": time,
            "last_model": null_or(text(1)),
            "last_provider": null_or(_PROVIDER),
            "created_at": time,
            "updated_at": time,
        }
    ),
    agrees("exchanges are whole", lambda it: it["message_count"] % 2 == 0),
)


def _part(value: Any, at: str) -> Iterator[str]:
    kind = value.get("type") if isinstance(value, dict) else None
    shapes = {
        "text": record({"type": word("text"), "text": text(0, 250_000)}),
        "citation": record(
            {"type": word("citation"), "recording_id": identifier("rec"), "start_ms": integer()}
        ),
    }
    if kind not in shapes:
        yield f"{at}: {kind!r} is no kind of part"
        return
    yield from shapes[kind](value, at)


def _not_blank(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, dict) and value.get("role") == "assistant" and not value["content"].strip():
        yield f"{at}: an answer is blank"


def _of_user(it: dict[str, Any]) -> bool:
    kinds = [each["type"] for each in it["parts"]]
    return (
        kinds == ["text"]
        and it["parts"][0]["text"] == it["content"]
        and set(it["tokens"].values()) == {None}
        and it["model"] is it["provider"] is it["finish_reason"] is None
    )


MESSAGE = all_of(
    record(
        {
            "id": identifier("msg"),
            "session_id": identifier("as"),
            "role": word("user", "assistant"),
            "content": text(0, 250_000),
            "parts": array(_part, most=1000),
            "tokens": record({"input": _TOKEN, "output": _TOKEN, "cached": _TOKEN}),
            "model": null_or(text(1)),
            "provider": null_or(_PROVIDER),
            "finish_reason": null_or(word("stop", "length", "content_filter")),
            "created_at": time,
        }
    ),
    _not_blank,
    agrees("a question has one text and no facts", lambda it: it["role"] != "user" or _of_user(it)),
    agrees(
        "an answer has a provider and an end",
        lambda it: it["role"] != "assistant" or None not in (it["provider"], it["finish_reason"]),
    ),
)
SOURCE = all_of(
    record(
        {
            "chunk_id": identifier("chk"),
            "recording_id": identifier("rec"),
            "transcription_id": identifier("txn"),
            "chunk_text": text(1, 4000),
            "speaker": null_or(text(0, 128)),
            "start_ms": integer(),
            "end_ms": integer(),
            "recorded_at": null_or(time),
            "score": number(0, float("inf")),
        }
    ),
    agrees("it does not end before it starts", lambda it: it["start_ms"] <= it["end_ms"]),
)
ANSWER = record({"session_id": identifier("as"), "message": MESSAGE, "sources": array(SOURCE)})


def created(value: Any, at: str) -> Iterator[str]:
    """The answer to the POST of a session: the session, or the answer to its first message."""
    shape = ANSWER if isinstance(value, dict) and "message" in value else SESSION
    yield from shape(value, at)


def sessions(limit: int) -> Shape:
    """A page of sessions, by their latest activity."""

    def shape(value: Any, at: str) -> Iterator[str]:
        if isinstance(value, dict) and isinstance(value.get("data"), list):
            times = [each["last_message_at"] for each in value["data"]]
            if times != sorted(times, reverse=True):
                yield f"{at}: not by activity"
            # The order of `page` is that of `created_at`, which the rows do not have here.
            rows = [{**each, "created_at": each["last_message_at"]} for each in value["data"]]
            value = {**value, "data": rows}
        yield from page(SESSION, limit)(value, at)

    return shape
