"""Keeps the HTTP contract's bounds: at most 5,000 segments, each with at most 10,000 UTF-16 units of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from lapel.foundation.http.input.text_lengths import utf16_units
from lapel.slices.transcription.speech.transcript import Segment

MOST = 5_000
LONGEST_TEXT = 10_000


def bounded(segments: Sequence[Segment]) -> list[Segment]:
    """The segments, changed to keep the bounds.

    Long texts are split. If there are too many segments, neighbours are joined. `segments` are in order of
    start, and the result is, too. Segments are not joined over a gap. Neighbours of one speaker are joined
    first, beginning with the shortest pause. Then neighbours of different speakers are joined; these segments
    have no speaker afterwards. If there are still too many segments, the last ones are left out.
    """
    found = [part for segment in segments for part in _cut(segment)]
    for across in (False, True):
        while len(found) > MOST:
            fewer = _joined(found, len(found) - MOST, across=across)
            if len(fewer) == len(found):
                break
            found = fewer
    return found[:MOST]


def _joined(segments: list[Segment], surplus: int, *, across: bool) -> list[Segment]:
    """The segments after at most `surplus` joins. In one call, a segment takes part in at most one join."""
    candidates = [
        at for at in range(len(segments) - 1) if _fit(segments[at], segments[at + 1], across=across)
    ]
    candidates.sort(key=lambda at: segments[at + 1].start - segments[at].end)
    taken: set[int] = set()
    firsts: set[int] = set()
    for at in candidates:
        if len(firsts) < surplus and not {at, at + 1} & taken:
            firsts.add(at)
            taken |= {at, at + 1}
    return [
        _join(segment, segments[at + 1]) if at in firsts else segment
        for at, segment in enumerate(segments)
        if at - 1 not in firsts
    ]


def _fit(left: Segment, right: Segment, *, across: bool) -> bool:
    return (across or left.speaker == right.speaker) and (
        not right.after_gap and utf16_units(left.text) + 1 + utf16_units(right.text) <= LONGEST_TEXT
    )


def _join(left: Segment, right: Segment) -> Segment:
    lasting = (left.end - left.start, right.end - right.start)
    confidence = (left.confidence * lasting[0] + right.confidence * lasting[1]) / sum(lasting)
    return msgspec.structs.replace(
        left,
        end=max(left.end, right.end),
        text=f"{left.text} {right.text}",
        confidence=round(confidence, 4),
        speaker=left.speaker if left.speaker == right.speaker else msgspec.UNSET,
        words=[*(left.words or []), *(right.words or [])] or msgspec.UNSET,
    )


def _cut(segment: Segment) -> Iterator[Segment]:
    """The segment itself, or parts of it if its text is too long.

    Each part has its share of the time, and no words.
    """
    if utf16_units(segment.text) <= LONGEST_TEXT:
        yield segment
        return
    texts = list(_pieces(segment.text))
    milliseconds = round((segment.end - segment.start) * 1000)
    texts = texts[:milliseconds]  # each part lasts at least a millisecond
    for number, text in enumerate(texts):
        start = segment.start + milliseconds * number // len(texts) / 1000
        end = segment.start + milliseconds * (number + 1) // len(texts) / 1000
        yield msgspec.structs.replace(
            segment,
            start=round(start, 3),
            end=round(end, 3),
            text=text,
            words=msgspec.UNSET,
            after_gap=segment.after_gap and number == 0,
        )


def _pieces(text: str) -> Iterator[str]:
    """The text in parts that fit, split at spaces if there are any."""
    while text:
        part = text[:LONGEST_TEXT]
        while utf16_units(part) > LONGEST_TEXT:
            part = part[: -(utf16_units(part) - LONGEST_TEXT + 1) // 2 or -1]
        if len(part) < len(text) and " " in part:
            part = part[: part.rindex(" ")]
        yield part.strip() or part
        text = text[len(part) :].lstrip()
