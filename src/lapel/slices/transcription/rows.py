"""The rows of this slice's statements."""

from __future__ import annotations

from datetime import datetime

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.slices.transcription.payloads import Lane, Stage
from lapel.slices.transcription.providers.choice import Engine, Slot
from lapel.slices.transcription.speech.failures import Code
from lapel.slices.transcription.speech.transcript import Status


class TranscriptionRow(msgspec.Struct, frozen=True):
    """A transcription without its segments. `language_asked`: the requested language, as opposed to
    `language`, the detected one."""

    id: str
    recording_id: str
    status: Status
    progress: float
    provider: Slot
    language_asked: str | None
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


class TranscriptRow(TranscriptionRow, frozen=True):
    """A transcription with its segments: JSON, as in answers; None before it is completed."""

    segments: bytes | None


class ListedTranscriptRow(TranscriptRow, frozen=True):
    """A row of a list. `bytes_before`: size of the rows before it; `followed`: whether another follows."""

    bytes_before: int
    followed: bool


class AudioFactsRow(msgspec.Struct, frozen=True):
    """The facts about an audio: a duration with peaks and cuts, or an error."""

    duration_ms: int | None
    peaks: bytes | None
    cuts: list[int] | None
    error_code: Code | None
    error_message: str | None


class SlotRow(msgspec.Struct, frozen=True):
    """The settings of a slot in a world."""

    world_id: int
    slot: Slot
    engine: Engine
    model: str | None
    base_url: str | None
    sealed_key: bytes | None
    allow_training: bool
    updated_at: datetime


class OperatorSlotRow(SlotRow, frozen=True):
    """The settings of a slot, and where it is."""

    project_id: str
    mode: Mode


class RemoteSlotRow(OperatorSlotRow, frozen=True):
    """A slot with a remote engine. `answered`: the model that answered last."""

    answered: str | None


class RemoteCopyRow(msgspec.Struct, frozen=True):
    """A copy that a provider keeps. `failures`: tries to delete it, including the present one."""

    world_id: int
    engine: Engine
    copy_id: str
    slot: Slot
    base_url: str | None
    failures: int
    is_old: bool


class UndeletedCopiesRow(msgspec.Struct, frozen=True):
    """Copies at an engine whose deletion has failed. `copies`: their number; `fault`: of the latest try."""

    engine: Engine
    copies: int
    fault: str


class ClaimRow(msgspec.Struct, frozen=True):
    """A step leased to a worker. `starts`: how often it was started and did not end, including this time.
    `turns`: how many turns it has had. `failures`: how many tries failed."""

    world_id: int
    id: str
    recording_id: str
    media_id: str
    transcription_id: str | None
    lane: Lane
    stage: Stage
    piece: int
    engine: Engine | None
    failures: int
    starts: int
    turns: int
    lease: str


class LackingJobsRow(msgspec.Struct, frozen=True):
    """How many jobs a lane lacks for its free steps, and world and id of a step to name in them."""

    lane: Lane
    lacking: int
    world_id: int
    id: str


class TryingStepsRow(msgspec.Struct, frozen=True):
    """The steps of a stage that could not be done yet: those that failed, and those without disk space."""

    stage: Stage
    failed: int
    roomless: int


class WorldAndRecordingRow(msgspec.Struct, frozen=True):
    """The key of a recording."""

    world_id: int
    recording_id: str
