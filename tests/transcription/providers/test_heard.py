"""Whatever a provider tells, what becomes of it is in order and can be shown."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.transcription.models.whisper.languages import LANGUAGES
from lapel.slices.transcription.providers.heard import Said, heard, stretches
from lapel.slices.transcription.providers.protocol import Clip
from lapel.slices.transcription.speech.provider_languages import primary, spoken

CLIP = Clip(file=Path("none"), content_type="audio/opus", pcm=Path("none"), start_ms=10_000, end_ms=20_000)
NUMBERS = st.none() | st.floats(-1e9, 1e9) | st.floats(0, 12)
SPEAKERS = st.none() | st.integers(0, 3) | st.sampled_from(["A", "B", "speaker_7", ""])


def said(words: st.SearchStrategy[list[Said]]) -> st.SearchStrategy[Said]:
    return st.builds(
        Said, text=st.text(max_size=20), start=NUMBERS, end=NUMBERS, confidence=NUMBERS, speaker=SPEAKERS,
        before=st.sampled_from(["", " "]), words=words,
    )  # fmt: skip


WORDS = st.lists(said(st.just([])), max_size=5)


@given(st.lists(said(WORDS), max_size=6) | WORDS.map(stretches))
def test_what_was_heard_keeps_its_promises(told: list[Said]) -> None:
    found = heard(told, CLIP, language="en", probability=2.0, model="m")
    starts = [segment.start for segment in found.segments]
    assert starts == sorted(starts)
    names: list[str] = []
    for segment in found.segments:
        words = segment.words if segment.words is not msgspec.UNSET else []
        assert segment.text.strip()
        for each in (segment, *words):
            assert 10 <= each.start < each.end <= 20
            assert 0 <= each.confidence <= 1
        if segment.speaker is not msgspec.UNSET and segment.speaker not in names:
            names.append(segment.speaker)
    assert names == [f"SPEAKER_{number}" for number in range(len(names))]
    assert found.language == ("en" if found.segments else None)
    ends = [10.0]
    for start, end in found.speech:
        assert ends[-1] <= start < end
        ends.append(end)


def test_numbers_that_are_none_are_no_confidence() -> None:
    (segment,) = heard(
        [Said(text="a", confidence=math.nan)], CLIP, language=None, probability=None, model="m"
    ).segments
    assert segment.confidence == 1


def test_words_are_parted_at_turns_and_pauses() -> None:
    words = [
        Said(text="one", start=0, end=1, speaker="A"),
        Said(text="two", start=1.5, end=2, speaker="A"),
        Said(text="three", start=2, end=3, speaker="B"),
        Said(text="four", start=4, end=5, speaker="B"),
    ]
    found = heard(stretches(words), CLIP, language=None, probability=None, model="m")
    assert [(each.text, each.speaker) for each in found.segments] == [
        ("one two", "SPEAKER_0"),
        ("three", "SPEAKER_1"),
        ("four", "SPEAKER_1"),
    ]


def test_languages_are_known_by_all_their_names() -> None:
    for told in ("en", "EN", "en-US", "en_us", "eng", "english", "English"):
        assert spoken(told, None) == "en"
    assert spoken("german", "de-CH") == "de-CH"
    assert spoken("cmn", None) == spoken("Mandarin", None) == "zh"
    assert spoken("Haitian Creole", None) == "ht"
    for told in (None, "", "und", "no such tongue", "x" * 1000, "e\x00n"):
        assert spoken(told, "fr") == "fr"
        assert spoken(told, None) is None
    assert spoken("xh", None) == "xh"  # not in the table, but a code


def test_the_local_models_languages_keep_their_codes() -> None:
    assert {code for code in LANGUAGES if primary(code) != code} == {"jw"}
