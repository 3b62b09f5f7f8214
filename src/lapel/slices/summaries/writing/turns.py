"""The turns of a transcript: what a model reads, and what evidence refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.slices.search.service import sentences_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.slices.transcription.service import Segment

# The most characters of a turn. Evidence is as exact as its turns are short.
_MOST_CHARACTERS = 400
_PAUSE_MS = 3_000
# The longest label of a speaker that a model reads.
_MOST_OF_A_LABEL = 128


class SpokenTurn(msgspec.Struct, frozen=True):
    """Consecutive sentences of one speaker. `index`: its place in the transcript, from 0. Times are
    milliseconds from the start of the recording. `after_gap`: audio is missing before it. `sentences`: each
    as a turn of its own; none for a single one."""

    index: int
    speaker: str | None
    text: str
    start_ms: int
    end_ms: int
    after_gap: bool = False
    sentences: tuple[SpokenTurn, ...] = ()


def turns_of(segments: Sequence[Segment]) -> list[SpokenTurn]:
    """The turns of a transcript, in order. Call this in a thread for long transcripts."""
    groups: list[list[SpokenTurn]] = []
    for sentence in sentences_as_turns(segments):
        if not groups or not _goes_on(groups[-1], sentence):
            groups.append([])
        groups[-1].append(sentence)
    return [
        SpokenTurn(
            index,
            group[0].speaker,
            " ".join(each.text for each in group),
            group[0].start_ms,
            max(each.end_ms for each in group),
            group[0].after_gap,
            tuple(group) if len(group) > 1 else (),
        )
        for index, group in enumerate(groups)
    ]


def sentences_as_turns(segments: Sequence[Segment]) -> list[SpokenTurn]:
    """The sentences of a transcript, in order, each as a turn. Call this in a thread for long transcripts."""
    return [
        SpokenTurn(
            index,
            None if sentence.speaker is None else sentence.speaker[:_MOST_OF_A_LABEL],
            sentence.text,
            sentence.start_ms,
            sentence.end_ms,
            sentence.after_gap,
        )
        for index, sentence in enumerate(sentences_of(segments))
    ]


def _goes_on(group: Sequence[SpokenTurn], sentence: SpokenTurn) -> bool:
    """Whether a sentence belongs to the turn of the sentences before it."""
    length = sum(len(each.text) + 1 for each in group) + len(sentence.text)
    pause = sentence.start_ms - group[-1].end_ms
    same = sentence.speaker == group[0].speaker
    return same and not sentence.after_gap and length <= _MOST_CHARACTERS and pause <= _PAUSE_MS
