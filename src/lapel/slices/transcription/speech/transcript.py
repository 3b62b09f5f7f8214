"""Words, segments and transcripts. Times are seconds from the start of the recording."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec

from lapel.foundation.timed_warnings import TimedWarning

# The states of a transcription, in order; the last two are final.
Status: TypeAlias = Literal["pending", "processing", "completed", "failed"]
# Whether the configuration or a client asked for a transcription.
Origin: TypeAlias = Literal["auto", "request"]


def share(value: float) -> float:
    """A confidence, limited to the range 0 to 1, with 4 digits; 0 for infinite values and NaN."""
    return round(min(max(value, 0.0), 1.0), 4) if math.isfinite(value) else 0.0


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and whole seconds: `0:01:05`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One spoken word, with its punctuation and without surrounding spaces. `confidence` is 0 to 1."""

    start: float
    end: float
    word: str
    confidence: float


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Consecutive words of one speaker.

    `end` > `start`. `text` is never blank and has no control characters. `speaker` (`SPEAKER_0`, …) and
    `words` are left out if they are not known. `after_gap` is there, and true, if audio is missing between
    this segment and the one before it.
    """

    start: float
    end: float
    text: str
    confidence: float
    speaker: str | msgspec.UnsetType = msgspec.UNSET
    words: list[Word] | msgspec.UnsetType = msgspec.UNSET
    after_gap: bool = False


def separator(segment: Segment) -> str:
    """What separates the text of a segment from the text before it: no sentence goes on over a gap."""
    return "\n" if segment.after_gap else " "


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was said in a recording. `segments` are ordered by start. `warnings`: what is missing
    in it, although it is complete otherwise."""

    segments: list[Segment]
    language: str | None
    language_probability: float | None
    model: str
    duration_ms: int
    warnings: list[TimedWarning] = msgspec.field(default_factory=list[TimedWarning])

    @property
    def full_text(self) -> str:
        """All text, with a space between segments, or a line break where audio is missing between them."""
        parts: list[str] = []
        for segment in self.segments:
            parts += [separator(segment) if parts else "", segment.text]
        return "".join(parts)

    @property
    def word_count(self) -> int:
        """Number of words in `full_text`."""
        return sum(len(segment.text.split()) for segment in self.segments)

    @property
    def confidence(self) -> float | None:
        """The mean confidence of the segments, weighted by their length in time: 0 to 1. None without
        segments."""
        mean = MeanConfidence()
        for segment in self.segments:
            mean.add(segment)
        return mean.value


class MeanConfidence:
    """The confidence of all segments, each weighted by its length in time."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._weighted = 0.0

    def add(self, segment: Segment) -> None:
        """Include a segment."""
        seconds = segment.end - segment.start
        self._seconds += seconds
        self._weighted += segment.confidence * seconds

    @property
    def value(self) -> float | None:
        """0 to 1, with 4 digits; None without segments."""
        return round(self._weighted / self._seconds, 4) if self._seconds else None
