"""Requests to the engine's process, and its answers.

PCM files: 16 kHz, mono, signed 16-bit little-endian.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from lapel.slices.transcription.speech.transcript import Segment

SAMPLE_RATE = 16_000
# Start and end of a stretch, in seconds from the start of the recording.
Span = tuple[float, float]


class Listen(msgspec.Struct, frozen=True, kw_only=True, tag="listen"):
    """Turn the speech between two times of a PCM file into text.

    `language`: None to detect the language of each stretch, among `languages` (empty: all that people speak
    today). `likely`: the language if none is clear in any stretch. `model`: a folder or a name
    (whisper_weights.py); None for the setting.
    """

    pcm: str
    start_ms: int
    end_ms: int
    language: str | None
    languages: tuple[str, ...] = ()
    likely: str | None = None
    model: str | None = None

    def files(self) -> list[tuple[str, int]]:
        """The files that the parent opens for the child."""
        return [(self.pcm, os.O_RDONLY)]


# Refusal code: the model has to be downloaded first.
NOT_HERE = "not_here"


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """Load a model. In the download process, this request means: download the model, and report the progress
    of the download."""

    model: str | None = None


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The model is loaded. `model`: its name, as in transcripts."""

    model: str


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """The speech of a piece as text. `speech`: the stretches of speech. `language`: None if unknown.

    `language_probability`: 0 to 1. `seconds`: how long each language is spoken; empty if the provider finds
    one language for a piece. `doubtful`: stretches whose words are probably not what was said. `timed`:
    whether times within the piece are known. If not, there is one segment, which is as long as the piece.
    """

    segments: list[Segment]
    speech: list[Span]
    language: str | None
    language_probability: float | None
    model: str
    seconds: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    doubtful: list[Span] = msgspec.field(default_factory=list[Span])
    timed: bool = True

    @property
    def spoken(self) -> list[Span]:
        """The stretches of speech: `speech`, or the segments' times if the provider reports no `speech`."""
        return self.speech or [(segment.start, segment.end) for segment in self.segments]


class Describe(msgspec.Struct, frozen=True, kw_only=True, tag="describe"):
    """Embed the voices in these stretches of a PCM file, window by window."""

    pcm: str
    speech: list[Span]

    def files(self) -> list[tuple[str, int]]:
        """The files that the parent opens for the child."""
        return [(self.pcm, os.O_RDONLY)]


class Voices(msgspec.Struct, frozen=True, kw_only=True):
    """Windows and their embeddings: float16, little-endian, `len(windows)` x 192, each of length 1.

    `left_out`: why there are none although somebody speaks; empty otherwise.
    """

    windows: list[Span]
    embeddings: bytes
    left_out: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True, tag="group"):
    """Cluster the voices of a whole recording. `num_speakers` overrides `min_speakers` and `max_speakers`."""

    voices: list[Voices]
    num_speakers: int | None = None
    min_speakers: int = 1
    max_speakers: int | None = None


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """The windows in the order of the request, and their speakers: 0, 1, … in the order of appearance."""

    windows: list[Span]
    labels: list[int]


Request = Prepare | Listen | Describe | Group


def pcm_name(folder: Path) -> Path:
    """Path of the decoded samples in a scratch folder."""
    return folder / "audio.pcm"
