"""Transcriptions and their segments (section 11)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

from tests.support.strict.shapes import (
    WARNINGS,
    Shape,
    agrees,
    all_of,
    array,
    boolean,
    identifier,
    integer,
    null_or,
    number,
    record,
    text,
    time,
    word,
)

_JOINERS = "\u200c\u200d"
_SECONDS = number(0, 604_800)
_ERRORS = (
    "audio_too_short",
    "audio_corrupt",
    "unsupported_format",
    "processing_error",
    "provider_error",
    "transcript_too_short",
    "template_not_found",
)


def plain(value: Any, at: str) -> Iterator[str]:
    """Text without control and format characters, except the two joiners."""
    if isinstance(value, str):
        found = {each for each in value if unicodedata.category(each) in ("Cc", "Cf")} - set(_JOINERS)
        if found:
            yield f"{at}: it holds {sorted(found)}"


def not_blank(value: Any, at: str) -> Iterator[str]:
    """Text with more than white space."""
    if isinstance(value, str) and not value.strip():
        yield f"{at}: it is blank"


_WORD = all_of(
    record({"start": _SECONDS, "end": _SECONDS, "word": text(1, 10_000), "confidence": number(0, 1)}),
    agrees("a word's end is not before its start", lambda it: it["end"] >= it["start"]),
)


def _segment(*, words: bool) -> Shape:
    always: dict[str, Shape] = {
        "start": _SECONDS,
        "end": _SECONDS,
        "text": all_of(text(1, 10_000), not_blank, plain),
        "confidence": number(0, 1),
    }
    if words:
        always["words"] = array(_WORD)
    speaker = all_of(text(1, 128), plain)
    ends_later = agrees("end is after start", lambda it: it["end"] > it["start"])
    return all_of(record(always, {"speaker": speaker, "after_gap": boolean}), ends_later)


def _in_order(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, list):
        starts = [each.get("start", 0) for each in value if isinstance(each, dict)]
        if starts != sorted(starts):
            yield f"{at}: starts decrease"


# Lapel's own: `progress` (0 to 1), `diarization` (whether speakers are told apart), `warnings`, `damaged`,
# and the field `after_gap` of a segment.
_TRANSCRIPTION: dict[str, Shape] = {
    "progress": number(0, 1),
    "diarization": boolean,
    "id": identifier("txn"),
    "project_id": identifier("proj"),
    "recording_id": identifier("rec"),
    "status": word("pending", "processing", "completed", "failed"),
    "language": null_or(text(1, 32, r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")),
    "provider": word("whisper", "deepgram", "assemblyai", "elevenlabs"),
    "model": null_or(text(1)),
    "duration_ms": null_or(integer()),
    "full_text": null_or(text(0, 2**31)),
    "text": null_or(text(0, 2**31)),
    "word_count": null_or(integer()),
    "confidence": null_or(number(0, 1)),
    "error": null_or(record({"code": word(*_ERRORS), "message": text(1)})),
    "error_message": null_or(text(1)),
    "warnings": WARNINGS,
    "damaged": null_or(boolean),
    "started_at": null_or(time),
    "completed_at": null_or(time),
    "created_at": time,
    "updated_at": time,
}
_TIES = all_of(
    agrees("text is full_text", lambda it: it["text"] == it["full_text"]),
    agrees(
        "a failed one has an error, no other has", lambda it: (it["status"] == "failed") == bool(it["error"])
    ),
    agrees(
        "error_message is the error's message",
        lambda it: it["error_message"] == (it["error"] and it["error"]["message"]),
    ),
)


_HAS_TEXT = agrees(
    "a completed one has a text", lambda it: it["status"] != "completed" or it["full_text"] is not None
)
# In an event the text is null when the event would be too large, and the nested copy never has it.
IN_EVENT = all_of(record(_TRANSCRIPTION), _TIES)
NESTED_IN_EVENT = record(
    {name: shape for name, shape in _TRANSCRIPTION.items() if name not in ("full_text", "text")}
)


def transcription(*, segments: bool, words: bool = False) -> Shape:
    """A transcription, with or without segments, and these with or without words."""
    if not segments:
        return all_of(record(_TRANSCRIPTION), _TIES, _HAS_TEXT)
    listed = all_of(array(_segment(words=words), most=5000), _in_order)
    return all_of(
        record(_TRANSCRIPTION | {"segments": null_or(listed)}),
        _TIES,
        _HAS_TEXT,
        agrees(
            "segments are an array once completed, null before",
            lambda it: (it["status"] == "completed") == (it["segments"] is not None),
        ),
    )
