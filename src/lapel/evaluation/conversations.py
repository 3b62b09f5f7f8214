"""The written conversations: what one recording's transcript would say."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from lapel.evaluation.reading import FOLDER, EvaluationSetInvalid, read_file

WrittenLanguage = Literal["en", "de", "es", "fr", "zh"]
"""Language of a text, as ISO 639-1 names it. Chinese is in simplified characters."""

Half = Literal["choose", "judge"]
"""Thresholds are chosen on one half of the set, and judged on the other. No conversation is in both."""


class WrittenSegment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Consecutive words of one speaker. `start` and `end` are seconds from the begin of the recording."""

    speaker: str
    start: float
    end: float
    text: str

    @property
    def start_ms(self) -> int:
        """`start` in whole milliseconds."""
        return round(self.start * 1000)

    @property
    def end_ms(self) -> int:
        """`end` in whole milliseconds."""
        return round(self.end * 1000)


class WrittenConversation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One conversation. `segments` are ordered by time and do not overlap.

    `end_user` is the person whose recording it is; a question of one person has its answer in that person's
    conversations only.
    """

    id: str
    language: WrittenLanguage
    title: str
    recorded_at: datetime
    end_user: str
    half: Half
    segments: list[WrittenSegment]

    @property
    def text(self) -> str:
        """All segments' text, one segment a line."""
        return "\n".join(segment.text for segment in self.segments)


def conversations(folder: Path = FOLDER) -> list[WrittenConversation]:
    """All conversations of the set in the order of their ids.

    Raises EvaluationSetInvalid if a file does not fit, or if a file's name is not the id in it.
    """
    found: list[WrittenConversation] = []
    for path in sorted((folder / "conversations").glob("*.json"), key=lambda path: path.stem):
        conversation = read_file(path, WrittenConversation)
        if conversation.id != path.stem:
            raise EvaluationSetInvalid(f"{path.name}: its id is {conversation.id}")
        found.append(conversation)
    return found
