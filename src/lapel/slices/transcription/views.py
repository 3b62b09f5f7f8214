"""Converts rows to the contract's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from lapel.foundation.core.clock import timestamp, timestamp_or_none
from lapel.foundation.timed_warnings import warnings_in
from lapel.slices.transcription.audio.damage import damage_warnings
from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.speech.transcript import Segment
from lapel.slices.transcription.wire import JobError, Transcription

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lapel.slices.transcription.exports.export_queries import ExportRow
    from lapel.slices.transcription.rows import TranscriptionRow, TranscriptRow

_decode_segments = msgspec.json.Decoder(list[Segment]).decode


def transcription_of(row: TranscriptionRow) -> Transcription:
    """The object without segments, as events and lists without `include` show it."""
    return _shown(row, msgspec.UNSET)


def transcript_of(row: TranscriptRow) -> Transcription:
    """The object with its segments, which are null before completion.

    The stored JSON is sent unchanged. Decoding and encoding the segments of three hours would block the event
    loop for tens of milliseconds.
    """
    stored = None if row.segments is None else cast("list[Segment]", msgspec.Raw(row.segments))
    return _shown(row, stored)


def _shown(row: TranscriptionRow, segments: list[Segment] | msgspec.UnsetType | None) -> Transcription:
    language = row.language
    if row.status != "completed":  # until then the requested language is shown, not the detected one
        language = row.language_asked or language
    error = None
    if row.error_code is not None:
        error = JobError(code=row.error_code, message=row.error_message or "")
    warnings = warnings_in(row.warnings)
    damaged = None
    if row.warnings is not None:
        damaged = any(each.code in damage_warnings.CODES for each in warnings)
    return Transcription(
        id=row.id,
        project_id=row.project_id,
        recording_id=row.recording_id,
        status=row.status,
        progress=round(row.progress, 3),
        language=language,
        provider=row.provider,
        model=row.model,
        diarization=row.diarization,
        duration_ms=row.duration_ms,
        full_text=row.full_text,
        text=row.full_text,
        segments=segments,
        word_count=row.word_count,
        confidence=None if row.confidence is None else round(row.confidence, 4),
        error=error,
        error_message=None if error is None else error.message,
        started_at=timestamp_or_none(row.started_at),
        completed_at=timestamp_or_none(row.completed_at),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        warnings=warnings,
        damaged=damaged,
    )


def stored_segments(segments: list[Segment]) -> tuple[bytes, bytes]:
    """The segments as JSON for answers, twice: with words (an empty list if unknown), and without words."""
    with_words = [msgspec.structs.replace(each, words=each.words or []) for each in segments]
    plain = [msgspec.structs.replace(each, words=msgspec.UNSET) for each in segments]
    return msgspec.json.encode(with_words), msgspec.json.encode(plain)


def segments_of(row: ExportRow) -> list[Segment] | None:
    """The row's segments, decoded; None if the row has none."""
    return None if row.segments is None else _decode_segments(row.segments)


def document_of(row: ExportRow, segments: Iterable[Segment]) -> Document:
    """The document of a completed transcription, for an export."""
    return Document(
        title=row.name or row.recording_id,
        segments=segments,
        language=row.language,
        duration_ms=row.duration_ms,
        has_speakers=row.has_speakers,
        recorded_at=f"{row.recorded_at or row.recording_created_at:%Y-%m-%d %H:%M} UTC",
        model=row.model,
        warnings=warnings_in(row.warnings),
    )
