"""Whatever was heard, a transcript has at most 5,000 segments and nothing that the contract forbids."""

from __future__ import annotations

import sys
import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.foundation.text_cleaning import plain
from lapel.slices.transcription.speech.assembly import assemble
from lapel.slices.transcription.speech.bounds import bounded
from lapel.slices.transcription.speech.messages import Heard
from lapel.slices.transcription.speech.transcript import Segment, Word
from tests.contract.strict_samples import TRANSCRIPTION
from tests.support.strict.transcriptions import transcription


def said(start: float, end: float, text: str, speaker: str = "") -> Segment:
    return Segment(start=start, end=end, text=text, confidence=0.5, speaker=speaker or msgspec.UNSET)


def faults(segments: list[Segment]) -> list[str]:
    """What the strict reader says of a transcription with these segments."""
    told = {**TRANSCRIPTION, "segments": msgspec.to_builtins(segments)}
    return list(transcription(segments=True)(told, "$"))


def texts(segments: list[Segment]) -> list[str]:
    return " ".join(each.text for each in segments).split()


@pytest.mark.parametrize("speakers", [1, 2, 7000])
def test_neighbours_are_joined_when_there_are_more_than_5000(speakers: int) -> None:
    many = [said(n, n + 0.5, f"w{n}", f"SPEAKER_{n % speakers}") for n in range(12_345)]
    fewer = bounded(many)
    assert len(fewer) == 5000
    assert texts(fewer) == texts(many)
    assert faults(fewer) == []
    assert (fewer[0].start, fewer[-1].end) == (0, 12_344.5)


def test_neighbours_of_one_speaker_are_joined_before_others_and_short_pauses_first() -> None:
    many = [said(n, n + 0.5, str(n), f"SPEAKER_{n % 2}") for n in range(4_998)]
    tail = [said(5_000, 5_000.5, "a", "S"), said(5_001, 5_001.5, "b", "S"), said(5_001.6, 5_002, "c", "S")]
    fewer = bounded([*many, *tail])
    assert fewer[:4_998] == many
    assert [each.text for each in fewer[4_998:]] == ["a", "b c"]


def test_segments_within_the_bounds_stay_as_they_are() -> None:
    some = [said(n, n + 0.5, "x" * 10_000) for n in range(3)]
    assert bounded(some) == some


@given(
    st.lists(st.sampled_from(["a", "\U0001f600", " ", "word "]), min_size=1, max_size=40), st.integers(1, 5)
)
@settings(max_examples=30)
def test_a_text_that_is_too_long_is_cut_and_nothing_of_it_lost(parts: list[str], seconds: int) -> None:
    text = " ".join(("".join(parts) * 1000).split()) or "a"
    cut = bounded([said(1, 1 + seconds, text, "SPEAKER_0")])
    assert "".join(texts(cut)) == "".join(text.split())
    assert faults(cut) == []
    assert cut[0].start == 1
    assert cut[-1].end == 1 + seconds


def test_no_control_and_no_format_character_is_left_except_the_joiners() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = set(plain(every))
    assert {each for each in left if unicodedata.category(each) in ("Cc", "Cf")} == {"\u200c", "\u200d"}
    assert {"a", "ß", "あ", "\U0001f600"} <= left
    assert plain("\u200c\u200d") == ""


def test_a_whole_transcript_is_within_the_bounds() -> None:
    words = [Word(start=n / 100, end=n / 100 + 0.005, word="x\u00ad" * 40, confidence=1) for n in range(3000)]
    long = Segment(start=0, end=30, text=" ".join("x" * 40 for _ in words), confidence=1, words=words)
    short = [said(30 + n / 100, 30.005 + n / 100, f"a\u202e{n}", str(n % 2)) for n in range(9000)]
    heard = Heard(segments=[long, *short], speech=[], language="en", language_probability=1, model="m")
    made = assemble([heard], [(0, 200_000)], duration_ms=200_000)
    assert len(made.segments) <= 5000
    assert faults(made.segments) == []
