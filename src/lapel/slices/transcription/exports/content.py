"""The input of every export: the transcript, a few facts about it, and its text as paragraphs."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lapel.foundation.text_cleaning import plain
from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.speech.transcript import Segment, Transcript, Word, clock, share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# The longest time, in seconds: ten thousand hours. No recording is longer, and every format can write it.
_LONGEST = 36_000_000.0
# After a segment, the paragraph also ends if a pause of this many seconds follows, or if the paragraph has
# this many characters. Otherwise a lecture without speakers would be one paragraph.
_PAUSE = 3.0
_PARAGRAPH = 1000

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}\Z")

UNKNOWN_SPEAKER = "Unknown speaker"
NOTHING_SAID = "No speech was recognized."


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A transcript to export.

    `title`: the recording's name or id. `recorded_at`: the time, in the form to show. `speakers`: names to
    show instead of labels (`{"SPEAKER_0": "Ada"}`). `segments`: ordered by start; exports iterate over them
    more than once, and they need not be in memory. `has_speakers`: False only if no segment has a speaker.
    `warnings`: what is missing in the transcript.
    """

    title: str
    segments: Iterable[Segment]
    language: str | None = None
    duration_ms: int | None = None
    recorded_at: str | None = None
    model: str | None = None
    speakers: Mapping[str, str] = field(default_factory=dict[str, str])
    has_speakers: bool = True
    warnings: Sequence[TimedWarning] = ()

    @classmethod
    def of(cls, transcript: Transcript, title: str, recorded_at: str | None = None) -> Document:
        """The document of a transcript. `recorded_at`: the time, in the form to show."""
        return cls(
            title=title,
            recorded_at=recorded_at,
            language=transcript.language,
            duration_ms=transcript.duration_ms,
            model=transcript.model,
            segments=transcript.segments,
            warnings=transcript.warnings,
        )

    def tidy(self) -> Document:
        """A copy in which every segment is valid, whatever its source.

        All text is cleaned with `plain`. Segments and words without text are left out. Times are finite and
        rounded to milliseconds, and a segment's end is after its start.
        """
        names = {each: plain(name) for each, name in self.speakers.items()}
        language = self.language or ""
        return Document(
            title=plain(self.title) or "Transcript",
            segments=_Tidy(self.segments),
            language=language if _LANGUAGE.match(language) else None,
            duration_ms=self.duration_ms,
            recorded_at=plain(self.recorded_at or "") or None,
            model=plain(self.model or "") or None,
            speakers={plain(each): name for each, name in names.items() if name},
            has_speakers=self.has_speakers,
            warnings=[msgspec.structs.replace(each, message=plain(each.message)) for each in self.warnings],
        )

    def speaker(self, segment: Segment) -> str | None:
        """The name of the segment's speaker, else its label (`SPEAKER_0`); None without a speaker."""
        each = segment.speaker
        return None if each is msgspec.UNSET else self.speakers.get(each, each)

    def facts(self) -> list[tuple[str, str]]:
        """The known facts about the recording, as (heading, value)."""
        length = None if self.duration_ms is None else clock(self.duration_ms / 1000)
        known = {
            "Recorded": self.recorded_at,
            "Duration": length,
            "Language": self.language,
            "Model": self.model,
        }
        return [(heading, value) for heading, value in known.items() if value]

    def paragraphs(self) -> Iterator[Paragraph]:
        """The whole text, in order, with the warnings at their places in brackets.

        A paragraph ends when the speaker changes, at a long pause, where audio is missing, or when it is
        long.
        """
        notes = self.notes()
        unknown = None
        if self.has_speakers and any(each.speaker is not msgspec.UNSET for each in self.segments):
            unknown = UNKNOWN_SPEAKER  # else the paragraph would seem to belong to the speaker before
        texts: list[str] = []
        length, start, end, speaker = 0, 0.0, 0.0, None
        for segment in self.segments:
            who = self.speaker(segment) or unknown
            told = notes and _is_before(notes[0], segment)
            ends = who != speaker or segment.start - end >= _PAUSE or length >= _PARAGRAPH
            if texts and (ends or told or segment.after_gap):
                yield Paragraph(start, speaker, " ".join(texts))
                texts, length = [], 0
            while notes and _is_before(notes[0], segment):
                yield _note(notes.popleft())
            if not texts:
                start, speaker = segment.start, who
            texts.append(segment.text)
            length += len(segment.text)
            end = segment.end
        if texts:
            yield Paragraph(start, speaker, " ".join(texts))
        yield from map(_note, notes)

    def notes(self) -> deque[TimedWarning]:
        """The warnings that belong to a place, in order of time."""
        timed = [each for each in self.warnings if each.start_ms is not None]
        return deque(sorted(timed, key=lambda each: each.start_ms or 0))


@dataclass(frozen=True, slots=True)
class _Tidy:
    """Segments that are made tidy one by one, during the iteration."""

    segments: Iterable[Segment]

    def __iter__(self) -> Iterator[Segment]:
        return (each for each in map(_segment, self.segments) if each is not None)


class Paragraph(NamedTuple):
    """A stretch of one speaker's text: `start` in seconds, the name to show, the text on one line."""

    start: float
    speaker: str | None
    text: str


def _is_before(warning: TimedWarning, segment: Segment) -> bool:
    return (warning.start_ms or 0) <= segment.start * 1000


def _note(warning: TimedWarning) -> Paragraph:
    return Paragraph((warning.start_ms or 0) / 1000, None, f"[{warning.message}]")


def joined(separator: str, blocks: Iterable[str]) -> Iterator[bytes]:
    """The blocks in UTF-8, with the separator between them."""
    before = ""
    for block in blocks:
        yield f"{before}{block}".encode()
        before = separator


def or_else(blocks: Iterable[str], otherwise: str) -> Iterator[str]:
    """The blocks; if there are none, `otherwise`."""
    some = False
    for block in blocks:
        some = True
        yield block
    if not some:
        yield otherwise


def _segment(segment: Segment) -> Segment | None:
    text = plain(segment.text)
    if not text:
        return None
    start = _seconds(segment.start)
    speaker = segment.speaker if segment.speaker is msgspec.UNSET else plain(segment.speaker) or msgspec.UNSET
    words = segment.words
    if words is not msgspec.UNSET:
        words = [each for each in map(_word, words) if each is not None] or msgspec.UNSET
    return Segment(
        start=start,
        end=max(_seconds(segment.end), round(start + 0.001, 3)),
        text=text,
        confidence=share(segment.confidence),
        speaker=speaker,
        words=words,
        after_gap=segment.after_gap,
    )


def _word(word: Word) -> Word | None:
    text = plain(word.word)
    if not text:
        return None
    start = _seconds(word.start)
    end = max(_seconds(word.end), start)
    return Word(start=start, end=end, word=text, confidence=share(word.confidence))


def _seconds(value: float) -> float:
    return round(min(max(value, 0.0), _LONGEST), 3) if math.isfinite(value) else 0.0
