"""Converts a provider's words and segments to `Heard`, which the rest of the slice works with.

The module of each provider names the source of the format. The rules that fill in missing times and join
words are Lapel's own.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.text_cleaning import plain
from lapel.slices.transcription.speech.messages import Heard, Span
from lapel.slices.transcription.speech.transcript import Segment, Word, share

if TYPE_CHECKING:
    from lapel.slices.transcription.providers.protocol import Clip

# Seconds. A pause of this length ends a segment, if the provider reports no segments.
_PAUSE = 0.8
# Seconds. Shorter gaps do not interrupt speech.
_BREATH = 0.3
_LEAST = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A word, or a stretch of words, as a provider reports it.

    Times are in seconds from the start of the clip, unchecked; None if not reported. `confidence`: 0 to 1.
    `before`: the text between the previous word and this word.
    """

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    speaker: Hashable = None
    before: str = " "
    words: Sequence[Said] = field(default=())


def stretches(words: Iterable[Said]) -> list[Said]:
    """Join the words to stretches. A stretch has one speaker and no long pause."""
    found: list[list[Said]] = []
    for word in words:
        last = found[-1][-1] if found else None
        if last is None or last.speaker != word.speaker or _gap(last, word) > _PAUSE:
            found.append([word])
        else:
            found[-1].append(word)
    return [
        Said(text="".join(word.before + word.text for word in group), speaker=group[0].speaker, words=group)
        for group in found
    ]


def heard(
    said: Iterable[Said], clip: Clip, *, language: str | None, probability: float | None, model: str
) -> Heard:
    """The speech of the clip. Blank text is left out. Speakers are numbered in the order in which they speak.

    `probability`: of the language, 0 to 1. If the provider reports no confidence for a segment, it is the
    mean confidence of the segment's words, or 1 without words.
    """
    frame, said = _Frame(clip), list(said)
    segments = [segment for each in said if (segment := frame.segment(each)) is not None]
    segments.sort(key=lambda segment: segment.start)
    names: dict[str, str] = {}
    for index, segment in enumerate(segments):
        if segment.speaker is not msgspec.UNSET:
            name = names.setdefault(segment.speaker, f"SPEAKER_{len(names)}")
            segments[index] = msgspec.structs.replace(segment, speaker=name)
    return Heard(
        segments=segments,
        speech=_speech(segments),
        language=language if segments else None,
        language_probability=_share(probability) if segments and probability is not None else None,
        model=model,
        timed=not segments or any(_is_timed(each) for each in said),
    )


def _is_timed(said: Said) -> bool:
    return said.start is not None or any(word.start is not None for word in said.words)


class _Frame:
    """Converts the times and texts of one clip to times and texts of the recording."""

    def __init__(self, clip: Clip) -> None:
        self._offset = clip.start_ms / 1000
        self._length = max(clip.end_ms - clip.start_ms, 1) / 1000

    def segment(self, said: Said) -> Segment | None:
        """The segment; None when its text is blank."""
        words = [word for each in said.words if (word := self._word(each)) is not None]
        text = plain(said.text) or " ".join(word.word for word in words)
        if not text:
            return None
        start, end = self._times(said)
        sure = [word.confidence for word in words]
        return Segment(
            start=start,
            end=end,
            text=text,
            confidence=_share(said.confidence, sum(sure) / len(sure) if sure else 1.0),
            speaker=msgspec.UNSET if said.speaker is None else str(said.speaker),
            words=words or msgspec.UNSET,
        )

    def _word(self, said: Said) -> Word | None:
        text = plain(said.text)
        if not text:
            return None
        start, end = self._times(said)
        return Word(start=start, end=end, word=text, confidence=_share(said.confidence))

    def _times(self, said: Said) -> Span:
        """Start and end, in seconds from the start of the recording.

        Both are within the clip, and the end is after the start. If times are missing, they are those of the
        words, or of the clip.
        """
        inner = [each for each in said.words if each.start is not None]
        start = said.start if said.start is not None else (inner[0].start if inner else 0.0)
        end = said.end if said.end is not None else (inner[-1].end if inner else None)
        begin = min(max(start or 0.0, 0.0), self._length - _LEAST)
        finish = min(max(self._length if end is None else end, begin + _LEAST), self._length)
        return round(self._offset + begin, 3), round(self._offset + finish, 3)


def _gap(word: Said, following: Said) -> float:
    return 0.0 if word.end is None or following.start is None else following.start - word.end


def _share(confidence: float | None, otherwise: float = 1.0) -> float:
    if confidence is None or not math.isfinite(confidence):
        return round(otherwise, 4)
    return share(confidence)


def _speech(segments: Sequence[Segment]) -> list[Span]:
    """The stretches of speech: words, or segments without words, joined over short gaps."""
    spans = sorted(
        (each.start, each.end)
        for segment in segments
        for each in (segment.words if segment.words is not msgspec.UNSET else [segment])
    )
    found: list[Span] = []
    for start, end in spans:
        if found and start - found[-1][1] <= _BREATH:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
