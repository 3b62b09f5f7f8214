"""The interface of every provider of transcripts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from lapel.slices.transcription.speech.messages import Heard

# Stores the id of a copy (audio or transcript) that a provider keeps until the copy is deleted there. Returns
# when the id is stored, so that the copy is deleted even if the worker is killed.
Remember: TypeAlias = Callable[[str], Awaitable[None]]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's options. `language`: a code such as `en`; None to detect the language.

    `languages`: those among which the language is detected, if the provider can choose among some; empty: all
    that it knows. `likely_language`: that of the parts before this one, for a provider that
    `tells_languages`.
    """

    language: str | None = None
    languages: tuple[str, ...] = ()
    likely_language: str | None = None
    diarization: bool = True
    num_speakers: int | None = None


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    """The audio to transcribe: the uploaded file, its decoded samples, and the part to transcribe.

    `pcm`: 16 kHz, mono, signed 16-bit little-endian. `start_ms`, `end_ms`: the part. A piecewise provider
    gets one piece at a time; any other provider gets the whole recording. Times in the answer count from the
    start of the recording.
    """

    file: Path
    content_type: str
    pcm: Path
    start_ms: int
    end_ms: int


class Transcriber(Protocol):
    """A provider, which transcribes clips."""

    # Whether long recordings are cut at silences and transcribed piece by piece.
    piecewise: bool
    # Whether the provider reads the decoded samples; otherwise it reads the uploaded file.
    reads_samples: bool
    # Whether the provider's segments have speakers. Otherwise the local models find them, if diarization is
    # requested.
    tells_speakers: bool
    # Whether the provider finds the language of each stretch of speech. Otherwise a recording that is
    # transcribed piece by piece has the language of its first pieces.
    tells_languages: bool

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:
        """Transcribe the clip. `report` is called with the progress, 0 to 1.

        Raises SpeechError when another try cannot help, TryAgain when another try may help, OSError when a
        file cannot be read, and Unavailable when the database is away and therefore the id of a remote copy
        (audio or transcript that the provider keeps) cannot be stored.
        """
        ...
