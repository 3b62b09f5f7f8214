"""The speech of the shipped conversations and attacks, as a transcript has it."""

from __future__ import annotations

from lapel.cli.evaluate import evaluated_library
from lapel.evaluation.attacks import PlantedAttack
from lapel.evaluation.conversations import WrittenConversation
from lapel.slices.transcription.service import Segment


def segments_of(recording: PlantedAttack | WrittenConversation) -> list[Segment]:
    """What was said; the speakers of an attack have the names that it plants."""
    names = recording.speaker_names if isinstance(recording, PlantedAttack) else {}
    return evaluated_library.segments_of(recording.segments, names)
