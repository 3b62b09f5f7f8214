"""What every provider of transcripts is to the rest of the slice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from lapel.transcription.engine.messages import Heard

# Told the id of a copy (audio or transcript) that a provider keeps until it is deleted there; returns once
# the id is stored, so that a copy is deleted even when its worker is killed.
Remember: TypeAlias = Callable[[str], Awaitable[None]]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller asked for. `language`: a code such as `en`, None to detect it."""

    language: str | None = None
    diarization: bool = True
    num_speakers: int | None = None


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    """The audio to transcribe: the file as it was uploaded, its decoded samples, and the part that is meant.

    A provider that works piece by piece is given one piece at a time; any other one the whole recording.
    Times of the answer count from the start of the recording.
    """

    file: Path
    content_type: str
    pcm: Path
    start_ms: int
    end_ms: int


class Transcriber(Protocol):
    """One way to turn a clip into text."""

    # Whether long recordings are cut at silences and transcribed piece by piece.
    piecewise: bool
    # Whether it reads the decoded samples; else the file as it was uploaded.
    reads_samples: bool
    # Whether segments come with speakers; else ours are found when they were asked for.
    tells_speakers: bool

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """What was said in the clip. `report` hears the progress, 0 to 1.

        Raises SpeechError when another try cannot help, TryAgain when it may.
        """
        ...
