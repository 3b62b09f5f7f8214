"""Converts rows to the contract's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.speech.transcript import Segment
from lapel.slices.transcription.wire import JobError, Transcription

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

_decode_segments = msgspec.json.Decoder(list[Segment]).decode


def transcription_of(row: asyncpg.Record, *, segments: bool = False) -> Transcription:
    """The object as in answers and events. `segments`: whether to include them; null before completion."""
    failed = row["error_code"] is not None
    language: str | None = row["language"]
    if row["status"] != "completed":  # until then the requested language is shown, not the detected one
        language = row["language_asked"] or language
    return Transcription(
        id=row["id"],
        project_id=row["project_id"],
        recording_id=row["recording_id"],
        status=row["status"],
        progress=round(row["progress"], 3),
        language=language,
        provider=row["provider"],
        model=row["model"],
        diarization=row["diarization"],
        duration_ms=row["duration_ms"],
        full_text=row["full_text"],
        text=row["full_text"],
        segments=_stored_segments(row) if segments else msgspec.UNSET,
        word_count=row["word_count"],
        confidence=None if row["confidence"] is None else round(row["confidence"], 4),
        error=JobError(code=row["error_code"], message=row["error_message"]) if failed else None,
        error_message=row["error_message"] if failed else None,
        started_at=timestamp_or_none(row["started_at"]),
        completed_at=timestamp_or_none(row["completed_at"]),
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
    )


def stored_segments(segments: list[Segment]) -> tuple[bytes, bytes]:
    """JSON of the segments as in answers: with words (an empty list if unknown), and without words."""
    with_words = [msgspec.structs.replace(each, words=each.words or []) for each in segments]
    plain = [msgspec.structs.replace(each, words=msgspec.UNSET) for each in segments]
    return msgspec.json.encode(with_words), msgspec.json.encode(plain)


def _stored_segments(row: asyncpg.Record) -> list[Segment] | None:
    """The stored JSON, which is sent unchanged: to decode and encode the segments of three hours would block
    the event loop for tens of milliseconds."""
    stored: bytes | None = row["segments"]
    return None if stored is None else cast("list[Segment]", msgspec.Raw(stored))


def segments_of(row: asyncpg.Record) -> list[Segment] | None:
    """The row's segments, decoded; None if the row has none."""
    stored: bytes | None = row["segments"]
    return None if stored is None else _decode_segments(stored)


def document_of(row: asyncpg.Record, segments: Iterable[Segment]) -> Document:
    """The document of a completed transcription, for an export."""
    return Document(
        title=row["name"] or row["recording_id"],
        segments=segments,
        language=row["language"],
        duration_ms=row["duration_ms"],
        has_speakers=row["has_speakers"],
        recorded_at=f"{row['recorded_at'] or row['recording_created_at']:%Y-%m-%d %H:%M} UTC",
        model=row["model"],
    )
