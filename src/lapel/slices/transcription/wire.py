"""The contract's structs of transcriptions and waveforms."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from lapel.foundation.http.input.fields import Timestamp
from lapel.foundation.http.input.pagination import PageQuery
from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.providers.service import SpeechSlot
from lapel.slices.transcription.exports.formats import FormatName
from lapel.slices.transcription.speech.failures import Code
from lapel.slices.transcription.speech.transcript import Segment, Status

LANGUAGE_TAG = r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*\Z"
_Language = Annotated[
    str,
    msgspec.Meta(
        max_length=10,
        # The service refuses a tag that does not match, with an explanation.
        extra_json_schema={"minLength": 2, "pattern": LANGUAGE_TAG},
        description=(
            "The language that is spoken, such as `en` or `de-CH`. Default: that of the configuration, else "
            "it is detected."
        ),
        examples=["en"],
    ),
]
_Languages = Annotated[
    list[_Language],
    msgspec.Meta(
        min_length=1,
        max_length=16,
        description=(
            "The languages that may be spoken, such as `de` and `es`: the language is detected among them. "
            "They count only without `language`. Default: those of the configuration, else all."
        ),
        examples=[["de", "es"]],
    ),
]
_Speakers = Annotated[
    int, msgspec.Meta(ge=1, le=32, description="The number of people who speak, if it is known.")
]


Include: TypeAlias = Literal["segments", "words"]
_Include = Annotated[
    Include,
    msgspec.Meta(
        description="`segments`: the segments. `words`: the segments, with the times of their words."
    ),
]


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a transcription failed."""

    code: Code
    message: str


class Transcription(msgspec.Struct, frozen=True, kw_only=True):
    """What was said in a recording, or how far the work on it is.

    `progress` is 0 to 1. `duration_ms` is the duration of the audio. `segments`, `text` and `full_text` are
    null until the transcription is completed. Lists have `segments` only with `include=segments` or
    `include=words`. Segments have `words` only with `include=words`. `warnings` say what is missing in a
    completed transcription, such as stretches of a damaged audio; empty if nothing is. `damaged`: whether
    audio is missing; null unless it is completed, and if the audio was not examined.
    """

    id: str
    project_id: str
    recording_id: str
    status: Status
    progress: Annotated[float, msgspec.Meta(ge=0, le=1)]
    language: str | None
    provider: SpeechSlot
    model: str | None
    diarization: bool
    duration_ms: int | None
    full_text: str | None
    text: str | None
    segments: list[Segment] | msgspec.UnsetType | None = msgspec.UNSET
    word_count: int | None
    confidence: float | None
    error: JobError | None
    error_message: str | None
    started_at: Timestamp | None
    completed_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp
    warnings: list[TimedWarning]
    damaged: bool | None


class TranscriptionPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of transcriptions, newest first."""

    data: list[Transcription]
    has_more: bool
    next_cursor: str | None


class TranscribeRecording(msgspec.Struct, frozen=True, kw_only=True):
    """How to transcribe a recording. All fields are optional."""

    language: _Language | None = None
    languages: _Languages | None = None
    provider: SpeechSlot | None = None
    diarization: bool = True
    num_speakers: _Speakers | None = None


class CreateTranscription(TranscribeRecording, frozen=True, kw_only=True):
    """What to transcribe, and how."""

    recording_id: str


class TranscriptionQuery(PageQuery, frozen=True, kw_only=True):
    """How to list transcriptions."""

    recording_id: str | None = None
    status: Status | None = None
    include: _Include | None = None


class ReadTranscription(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a transcription to read."""

    include: _Include | None = None


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The format of an export."""

    format: FormatName = "txt"


class WaveformQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How many values the waveform has."""

    points: Annotated[int, msgspec.Meta(ge=100, le=4000, description="The number of peaks.")] = 1000


class Waveform(msgspec.Struct, frozen=True, kw_only=True):
    """The audio in `points` equal shares: each peak is the loudest sample of its share, 0 to 1."""

    duration_ms: int
    peaks: list[Annotated[float, msgspec.Meta(ge=0, le=1)]]
