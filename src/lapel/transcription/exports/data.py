"""For programs: the transcript in the shape of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.transcription.transcript import Segment, Transcript

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.transcription.exports.content import Document

_encoder = msgspec.json.Encoder()


class _Whole(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a transcription that are about its recording, named as in the API."""

    title: str
    recorded_at: str | None
    duration_ms: int | None
    language: str | None
    model: str | None
    speakers: Mapping[str, str] | msgspec.UnsetType
    full_text: str
    word_count: int
    confidence: float | None
    segments: list[Segment]


def json(document: Document) -> bytes:
    """One object, indented."""
    transcript = Transcript(
        segments=list(document.segments),
        language=document.language,
        language_probability=None,
        model=document.model or "",
        duration_ms=document.duration_ms or 0,
    )
    whole = _Whole(
        title=document.title,
        recorded_at=document.recorded_at,
        duration_ms=document.duration_ms,
        language=document.language,
        model=document.model,
        speakers=document.speakers or msgspec.UNSET,
        full_text=transcript.full_text,
        word_count=transcript.word_count,
        confidence=transcript.confidence,
        segments=transcript.segments,
    )
    return msgspec.json.format(_encoder.encode(whole), indent=2) + b"\n"


def ndjson(document: Document) -> bytes:
    """A segment a line."""
    return _encoder.encode_lines(document.segments)
