"""The turns that a model reads."""

from __future__ import annotations

from lapel.slices.summaries.writing.turns import turns_of
from lapel.slices.transcription.service import Segment


def test_a_turn_ends_where_audio_is_missing() -> None:
    def said(start: float, text: str, *, after_gap: bool = False) -> Segment:
        return Segment(
            start=start, end=start + 1, text=text, confidence=1, speaker="SPEAKER_0", after_gap=after_gap
        )

    assert [each.text for each in turns_of([said(0, "I am having a big."), said(1, "Twice last week.")])] == [
        "I am having a big. Twice last week."
    ]
    found = turns_of([said(0, "I am having a big."), said(1, "Twice last week.", after_gap=True)])
    assert [(each.text, each.after_gap) for each in found] == [
        ("I am having a big.", False),
        ("Twice last week.", True),
    ]
