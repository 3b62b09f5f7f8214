"""JSON and NDJSON: the transcript in the shape of the API, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.speech.transcript import MeanConfidence, separator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lapel.slices.transcription.exports.content import Document

_encode = msgspec.json.Encoder().encode
_INDENT = 2


class _JsonBegin(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a transcription that are about its recording, named as in the API."""

    title: str
    recorded_at: str | None
    duration_ms: int | None
    language: str | None
    model: str | None
    warnings: Sequence[TimedWarning]
    speakers: Mapping[str, str] | msgspec.UnsetType


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures that are known only after all segments were read."""

    word_count: int
    confidence: float | None


def json(document: Document) -> Iterator[bytes]:
    """One object, indented: `_JsonBegin`, `full_text`, `_Figures`, `segments`."""
    begin = _JsonBegin(
        title=document.title,
        recorded_at=document.recorded_at,
        duration_ms=document.duration_ms,
        language=document.language,
        model=document.model,
        warnings=document.warnings,
        speakers=document.speakers or msgspec.UNSET,
    )
    yield b"{" + _fields(begin) + b',\n  "full_text": "'
    mean, words, is_first = MeanConfidence(), 0, True
    for segment in document.segments:
        between = "" if is_first else separator(segment)
        yield _encode(between + segment.text)[1:-1]
        mean.add(segment)
        words += len(segment.text.split())
        is_first = False
    yield b'",' + _fields(_Figures(word_count=words, confidence=mean.value)) + b',\n  "segments": ['
    before = b""
    for segment in document.segments:
        # The segment is formatted inside two lists, because that gives it the indentation of this place.
        nested = msgspec.json.format(_encode(((segment,),)), indent=_INDENT)
        yield before + nested.removeprefix(b"[\n  [").removesuffix(b"\n  ]\n]")
        before = b","
    yield b"\n  ]\n}\n" if before else b"]\n}\n"


def _fields(part: msgspec.Struct) -> bytes:
    """The fields of an object without its braces, each on a line."""
    return msgspec.json.format(_encode(part), indent=_INDENT)[1:-2]


def ndjson(document: Document) -> Iterator[bytes]:
    """One segment on each line."""
    return (_encode(segment) + b"\n" for segment in document.segments)
