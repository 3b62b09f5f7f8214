"""What the engine's process is asked, and answers. PCM files: 16 kHz, mono, signed 16-bit little-endian."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from lapel.transcription.transcript import Segment

SAMPLE_RATE = 16_000
# Start and end of a stretch, in seconds from the start of the recording.
Span = tuple[float, float]


class Listen(msgspec.Struct, frozen=True, kw_only=True, tag="listen"):
    """Turn the speech between two times of a PCM file into text. `model`: a folder or a name (weights.py)."""

    pcm: str
    start_ms: int
    end_ms: int
    language: str | None
    model: str | None = None

    def files(self) -> list[tuple[str, int]]:
        """What the parent opens for it."""
        return [(self.pcm, os.O_RDONLY)]


# Code of the refusal to load a model that has to be downloaded first.
NOT_HERE = "not_here"


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """Load a model; for the process that downloads: bring it here. Progress: of the download."""

    model: str | None = None


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The model is loaded. `model`: its name, as transcripts say it."""

    model: str


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What was said. `speech`: where there is speech. `language` is None when nobody spoke.

    `timed`: whether times within the piece are known; else its one segment lasts as long as the piece.
    """

    segments: list[Segment]
    speech: list[Span]
    language: str | None
    language_probability: float | None
    model: str
    timed: bool = True

    @property
    def spoken(self) -> list[Span]:
        """Where somebody speaks: `speech`, or what the segments say of a provider that does not tell."""
        return self.speech or [(segment.start, segment.end) for segment in self.segments]


class Describe(msgspec.Struct, frozen=True, kw_only=True, tag="describe"):
    """Embed the voices in these stretches of a PCM file, window by window."""

    pcm: str
    speech: list[Span]

    def files(self) -> list[tuple[str, int]]:
        """What the parent opens for it."""
        return [(self.pcm, os.O_RDONLY)]


class Voices(msgspec.Struct, frozen=True, kw_only=True):
    """Windows and their embeddings: float16, little-endian, `len(windows)` x 192, each of length 1."""

    windows: list[Span]
    embeddings: bytes


class Group(msgspec.Struct, frozen=True, kw_only=True, tag="group"):
    """Cluster the voices of a whole recording. `num_speakers` wins over the bounds."""

    voices: list[Voices]
    num_speakers: int | None = None
    min_speakers: int = 1
    max_speakers: int | None = None


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """For every window, in the order they were given, which speaker: 0, 1, … in order of appearance."""

    windows: list[Span]
    labels: list[int]


Request = Prepare | Listen | Describe | Group


def pcm_name(folder: Path) -> Path:
    """Where a folder of ours keeps the decoded samples."""
    return folder / "audio.pcm"
