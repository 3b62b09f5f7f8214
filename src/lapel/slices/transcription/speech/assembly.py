"""Assembles one transcript from the results of all pieces. Pure computation, no I/O.

The HTTP contract sets the rules for a transcript (transcript.py, bounds.py). The method is Lapel's own.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from lapel.foundation.text_cleaning import plain
from lapel.slices.transcription.speech.assign import with_speakers
from lapel.slices.transcription.speech.bounds import bounded
from lapel.slices.transcription.speech.messages import Groups, Heard
from lapel.slices.transcription.speech.segmentation import shortened, split_at
from lapel.slices.transcription.speech.transcript import Segment, Transcript, Word, share

# If a piece has this much speech (in seconds) and a language with this probability, the pieces after it are
# in the same language, or are likely to be (`Plan.wish_for`).
_ENOUGH_SPEECH = 5.0
_SURE = 0.7

# Milliseconds from the start of the recording.
Piece: TypeAlias = tuple[int, int]


def assemble(
    heard: Sequence[Heard],
    pieces: Sequence[Piece],
    groups: Groups | None = None,
    *,
    duration_ms: int,
    gaps: Sequence[int] = (),
) -> Transcript:
    """The transcript of a recording. `heard[i]` is the speech in `pieces[i]`.

    `pieces`: in order, not overlapping. A provider that takes the whole recording has one piece, from 0 to
    `duration_ms`. The transcript is valid even if times, texts or confidences in `heard` are not. Segments
    are in order, lie within their piece and have text. Neighbours overlap only if their speakers differ.
    Segments last at most `segmentation.LONGEST` seconds, unless bounds.py joins them.

    With `groups`, the words get the speakers of `groups`; without, they keep the speakers in `heard`.
    Speakers are numbered in the order in which they speak. A piece with text but without times stays one
    segment, of any length and without a speaker from `groups`, because finer times would be invented.

    `gaps`: times in milliseconds, in order, at which audio is missing. No segment with times spans one, and
    the first segment after each has `after_gap`.
    """
    segments: list[Segment] = []
    whole: list[Segment] = []
    for each, piece in zip(heard, pieces, strict=True):
        cleaned = [_clean(segment, piece) for segment in each.segments]
        if groups is not None:
            cleaned = [msgspec.structs.replace(segment, speaker=msgspec.UNSET) for segment in cleaned]
        found = _orderly([segment for segment in cleaned if segment.text], piece)
        (segments if each.timed else whole).extend(found)
    if groups is not None:
        segments = with_speakers(segments, groups)
    times = [gap / 1000 for gap in gaps]
    parts = [
        part
        for segment in segments
        for within in split_at(segment, times)
        for part in shortened(within)
        if plain(part.text)
    ]
    parts = [_rounded(part) for part in [*parts, *whole]]
    parts.sort(key=lambda part: part.start)
    _mark_gaps(parts, times)
    language, probability = spoken_language(heard)
    return Transcript(
        segments=_numbered(bounded(parts)),
        language=language,
        language_probability=probability,
        model=heard[0].model if heard else "",
        duration_ms=duration_ms,
    )


def spoken_language(heard: Sequence[Heard]) -> tuple[str | None, float | None]:
    """The language that is spoken longest (among equals, the first), and its probability.

    The probability is that of the first piece in which no other language is spoken longer; None if there is
    no such piece.
    """
    seconds: dict[str, float] = {}
    sure: dict[str, float | None] = {}
    for each in heard:
        if each.language is not None:
            for language, spoken in (each.seconds or {each.language: _speech_seconds(each)}).items():
                seconds[language] = seconds.get(language, 0.0) + spoken
            sure.setdefault(each.language, each.language_probability)
    if not seconds:
        return None, None
    longest = max(seconds, key=lambda language: seconds[language])
    return longest, sure.get(longest)


def settled_language(heard: Sequence[Heard]) -> str | None:
    """The language of the first piece that is clear; None if it is not clear yet."""
    for each in heard:
        if _speech_seconds(each) >= _ENOUGH_SPEECH and (each.language_probability or 0.0) >= _SURE:
            return each.language
    return None


def _speech_seconds(heard: Heard) -> float:
    return sum(end - start for start, end in heard.speech)


def _clean(segment: Segment, piece: Piece) -> Segment:
    """The segment with cleaned text, words, confidences and speaker. The segment's times are cut to the
    piece; the times of its words stay as they are."""
    words = [
        Word(start=word.start, end=word.end, word=text, confidence=share(word.confidence))
        for word in segment.words or ()
        if (text := plain(word.word))
    ]
    speaker = plain(segment.speaker) if segment.speaker is not msgspec.UNSET else ""
    return Segment(
        start=_inside(segment.start, piece) / 1000,
        end=_inside(segment.end, piece) / 1000,
        text=plain(segment.text) or " ".join(word.word for word in words),
        confidence=share(segment.confidence),
        speaker=speaker or msgspec.UNSET,
        words=words or msgspec.UNSET,
    )


def _inside(seconds: float, piece: Piece) -> int:
    """The nearest millisecond within the piece; its start for NaN."""
    return piece[0] if math.isnan(seconds) else round(min(max(seconds * 1000, piece[0]), piece[1]))


def _orderly(segments: list[Segment], piece: Piece) -> Iterator[Segment]:
    """The segments in order of start. If two neighbours have the same speaker, they do not overlap.

    The words of a segment are in order, too, and do not overlap.
    """
    segments.sort(key=lambda segment: segment.start)
    if len(segments) > piece[1] - piece[0]:  # more segments than milliseconds: the times mean nothing
        segments = _joined(segments)
    times = _in_turn([(each.start, each.end, each.speaker) for each in segments], piece)
    for segment, (start, end) in zip(segments, times, strict=False):
        words = segment.words or []
        inner = _in_turn([(word.start, word.end, None) for word in words], (start, end))
        yield msgspec.structs.replace(
            segment,
            start=start / 1000,
            end=end / 1000,
            words=[
                msgspec.structs.replace(word, start=begin / 1000, end=finish / 1000)
                for word, (begin, finish) in zip(words, inner, strict=False)
            ]
            or msgspec.UNSET,
        )


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    return [
        msgspec.structs.replace(
            segments[0],
            end=max(each.end for each in segments),
            text=" ".join(each.text for each in segments),
            speaker=msgspec.UNSET,
            words=msgspec.UNSET,
        )
    ]


def _in_turn(times: Sequence[tuple[float, float, object]], bounds: Piece) -> list[Piece]:
    """Start and end of each item, in milliseconds.

    All are within the bounds and at least 1 ms long, and the starts increase. If the next item has the same
    speaker, an item ends at the latest when the next one starts. The result is empty if there are more items
    than milliseconds. `times`: (start, end, speaker), in seconds.
    """
    low, high = bounds
    if len(times) > high - low:
        return []
    starts: list[int] = []
    for place, (start, _, _) in enumerate(times):
        # Leave a millisecond for each of the items that follow.
        low = max(low, min(_inside(start, bounds), high - len(times) + place))
        starts.append(low)
        low += 1
    found: list[Piece] = []
    for index, (start, (_, end, whose)) in enumerate(zip(starts, times, strict=True)):
        finish = max(_inside(end, bounds), start + 1)
        if index + 1 < len(times) and times[index + 1][2] == whose:
            finish = min(finish, starts[index + 1])
        found.append((start, finish))
    return found


def _mark_gaps(parts: list[Segment], times: Sequence[float]) -> None:
    """Mark the first segment that begins at each of these times or later. `parts` are in order of start."""
    for time in times:
        at = bisect_left(parts, time, key=lambda part: part.start)
        if at < len(parts):
            parts[at] = msgspec.structs.replace(parts[at], after_gap=True)


def _rounded(segment: Segment) -> Segment:
    """The segment with times rounded to milliseconds, because sums of fractions are slightly off."""
    return msgspec.structs.replace(segment, start=round(segment.start, 3), end=round(segment.end, 3))


def _numbered(segments: list[Segment]) -> list[Segment]:
    """The segments with speakers renamed: SPEAKER_0 is the one who speaks first."""
    names: dict[str, str] = {}
    numbered: list[Segment] = []
    for segment in segments:
        if segment.speaker is msgspec.UNSET:
            numbered.append(segment)
        else:
            name = names.setdefault(segment.speaker, f"SPEAKER_{len(names)}")
            numbered.append(msgspec.structs.replace(segment, speaker=name))
    return numbered
