"""The rows of this slice's statements."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.slices.providers.service import SpeechEngine, SpeechSlot
from lapel.slices.transcription.payloads import Lane, Stage
from lapel.slices.transcription.speech.failures import Code
from lapel.slices.transcription.speech.transcript import Status


class TranscriptionRow(msgspec.Struct, frozen=True):
    """A transcription without its segments. `language_asked`: the requested language, as opposed to
    `language`, the detected one. `languages_asked`: those among which it is detected; None: all.
    `warnings`: JSON."""

    id: str
    recording_id: str
    status: Status
    progress: float
    provider: SpeechSlot
    language_asked: str | None
    languages_asked: list[str] | None
    diarization: bool
    num_speakers: int | None
    language: str | None
    model: str | None
    duration_ms: int | None
    full_text: str | None
    word_count: int | None
    confidence: float | None
    error_code: Code | None
    error_message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    project_id: str
    warnings: str | None


class ChangedTranscriptionRow(TranscriptionRow, frozen=True):
    """A transcription whose status was just changed, with the end user of its recording."""

    end_user_id: str


class TranscriptRow(TranscriptionRow, frozen=True):
    """A transcription with its segments: JSON, as in answers; None before it is completed."""

    segments: bytes | None


class ListedTranscriptRow(TranscriptRow, frozen=True):
    """A row of a list. `bytes_before`: bytes of the texts and segments in the rows before this row.
    `followed`: whether the query found another row after this row."""

    bytes_before: int
    followed: bool


class AudioFactsRow(msgspec.Struct, frozen=True):
    """The facts about an audio: a duration with peaks and cuts, or an error.

    `warnings`: JSON; None if the audio was not examined for damage. `gaps`: milliseconds.
    """

    duration_ms: int | None
    peaks: bytes | None
    cuts: list[int] | None
    error_code: Code | None
    error_message: str | None
    warnings: str | None
    gaps: list[int] | None


class RemoteCopyRow(msgspec.Struct, frozen=True):
    """A copy that a provider keeps. `failures`: number of tries to delete the copy, including this try."""

    world_id: int
    engine: SpeechEngine
    copy_id: str
    slot: SpeechSlot
    base_url: str | None
    failures: int
    is_old: bool


class UndeletedCopiesRow(msgspec.Struct, frozen=True):
    """Copies at an engine that could not be deleted yet. `copies`: their number. `fault`: why the deletion
    of one of them failed: the copy whose next try is furthest in the future."""

    engine: SpeechEngine
    copies: int
    fault: str


class ClaimRow(msgspec.Struct, frozen=True):
    """A step leased to a worker. `deaths`: how many workers died while a child of theirs was at the audio,
    since the step began. `turns`: how many turns the step has had. `failures`: how many tries failed."""

    world_id: int
    id: str
    recording_id: str
    media_id: str
    transcription_id: str | None
    lane: Lane
    stage: Stage
    piece: int
    engine: SpeechEngine | None
    failures: int
    deaths: int
    turns: int
    lease: str


class LackingJobsRow(msgspec.Struct, frozen=True):
    """How many jobs a lane lacks for its free steps. `world_id`, `id`: what the new jobs name; each is the
    smallest of the free steps."""

    lane: Lane
    lacking: int
    world_id: int
    id: str


class TryingStepsRow(msgspec.Struct, frozen=True):
    """The steps of a stage that could not be done yet. `failed`: how many have failed before. `roomless`: how
    many wait for disk space."""

    stage: Stage
    failed: int
    roomless: int


class WorldAndRecordingRow(msgspec.Struct, frozen=True):
    """The key of a recording."""

    world_id: int
    recording_id: str
