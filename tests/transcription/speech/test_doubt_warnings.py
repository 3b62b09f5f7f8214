"""Words in doubt are told with their places; a transcript that is all doubt stays of a bounded size."""

from __future__ import annotations

from lapel.slices.transcription.speech.doubt_warnings import doubt_warnings
from lapel.slices.transcription.speech.messages import Heard, Span


def heard(*doubtful: Span) -> Heard:
    return Heard(
        segments=[], speech=[], language="es", language_probability=0.9, model="m", doubtful=list(doubtful)
    )


def test_each_stretch_is_told_with_its_place() -> None:
    told = doubt_warnings([heard(), heard((61.5, 70.25)), heard((300.0, 301.0), (310.0, 311.0))])
    assert [(each.code, each.start_ms, each.end_ms) for each in told] == [
        ("words_in_doubt", 61_500, 70_250),
        ("words_in_doubt", 300_000, 301_000),
        ("words_in_doubt", 310_000, 311_000),
    ]
    assert "1:01" in told[0].message
    assert doubt_warnings([heard(), heard()]) == []


def test_many_stretches_are_summed_up() -> None:
    told = doubt_warnings([heard(*((float(at), at + 1.0) for at in range(0, 5000, 5)))])
    assert 10 < len(told) < 50
    assert (told[0].start_ms, told[-1].end_ms) == (0, 4_996_000)
    assert str(1000 - len(told) + 1) in told[-1].message
