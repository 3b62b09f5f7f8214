"""Passages: numbered parts of transcripts that an answer may cite, with the times of their sentences."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.search.service import FoundPassage, Sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lapel.slices.recordings.service import MentionedRow

# The characters of a passage of a whole transcript: short enough that a number stands for some sentences.
_USUAL = 400


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """Some sentences of one recording. `number`: how the model names it, from 1 on. `found`: the result of a
    search that it is, with its text; None for a part of a whole transcript."""

    number: int
    recording_id: str
    title: str | None
    recorded_at: datetime | None
    speaker: str | None
    sentences: list[Sentence]
    found: FoundPassage | None = None

    @property
    def text(self) -> str:
        """What is said in it."""
        return " ".join(each.text for each in self.sentences)


def of_whole_transcript(recording: MentionedRow, sentences: Iterable[Sentence]) -> list[Passage]:
    """All sentences of a recording: those of one speaker together, up to some hundred characters, and none
    together over a gap of the audio."""
    groups: list[list[Sentence]] = []
    size = 0
    for each in sentences:
        is_apart = each.after_gap or size + len(each.text) > _USUAL
        if not groups or is_apart or groups[-1][-1].speaker != each.speaker:
            groups.append([])
            size = 0
        groups[-1].append(each)
        size += len(each.text)
    return [
        Passage(
            number=number,
            recording_id=recording.id,
            title=recording.name,
            recorded_at=recording.recorded_at,
            speaker=group[0].speaker,
            sentences=group,
        )
        for number, group in enumerate(groups, start=1)
    ]


def of_found(
    number: int, found: FoundPassage, recording: MentionedRow, sentences: Sequence[Sentence]
) -> Passage:
    """A chunk that a search found. `sentences`: those of its time, perhaps more; none if unknown."""
    within = [each for each in sentences if each.start_ms < found.end_ms and each.end_ms > found.start_ms]
    whole = Sentence(
        text=found.chunk_text, speaker=found.speaker, start_ms=found.start_ms, end_ms=found.end_ms
    )
    return Passage(
        number=number,
        recording_id=found.recording_id,
        title=recording.name,
        recorded_at=recording.recorded_at,
        speaker=found.speaker,
        sentences=within or [whole],
        found=found,
    )
