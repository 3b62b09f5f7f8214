"""Sentences of a transcript: where they end, and their times."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.slices.search.service import LONGEST_SENTENCE, sentences_of
from lapel.slices.transcription.service import Segment, Word


def segment(text: str, start: float = 0.0, end: float = 10.0, speaker: str | None = None) -> Segment:
    """A segment without words."""
    if speaker is None:
        return Segment(start=start, end=end, text=text, confidence=1.0)
    return Segment(start=start, end=end, text=text, confidence=1.0, speaker=speaker)


def texts(*given: str) -> list[str]:
    """The sentences of segments that follow one another without a pause."""
    made = [segment(text, 10.0 * place, 10.0 * place + 10) for place, text in enumerate(given)]
    return [each.text for each in sentences_of(made)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello there. How are you? Fine!", ["Hello there.", "How are you?", "Fine!"]),
        ("Mr. Smith paid 3.50 euros. Then he left.", ["Mr. Smith paid 3.50 euros.", "Then he left."]),
        (
            "J. R. Miller met Dr. Ortiz, i.e. my boss. Good.",
            ["J. R. Miller met Dr. Ortiz, i.e. my boss.", "Good."],
        ),
        ("Wir treffen uns am 3. Mai um 14.30 Uhr. Gut.", ["Wir treffen uns am 3. Mai um 14.30 Uhr.", "Gut."]),
        ("He was born in 1985. Then he moved.", ["He was born in 1985.", "Then he moved."]),
        ("Well... maybe not. Visit example.com today.", ["Well... maybe not.", "Visit example.com today."]),
        ('She said "no." Then she left.', ['She said "no."', "Then she left."]),
        ("我们明天见面。你来吗？好！", ["我们明天见面。", "你来吗？", "好！"]),
        ("「はい。」と言った。次に行きます。", ["「はい。」", "と言った。", "次に行きます。"]),
        ("هل أنت بخير؟ نعم، شكرا. إلى اللقاء.", ["هل أنت بخير؟", "نعم، شكرا.", "إلى اللقاء."]),
        ("all in small letters. no capitals here.", ["all in small letters.", "no capitals here."]),
        ("I said no. Then I read No. 5 of 3.5. Fine.", ["I said no.", "Then I read No. 5 of 3.5.", "Fine."]),
        ("یہ ایک ہے۔ وہ دو ہے۔", ["یہ ایک ہے۔", "وہ دو ہے۔"]),
        ("रामः गच्छति॥ सीता तिष्ठति॥", ["रामः गच्छति॥", "सीता तिष्ठति॥"]),
        ("ደህና ነህ፧ አዎ። እሺ።", ["ደህና ነህ፧", "አዎ።", "እሺ።"]),
        ("Նա եկավ։ Ես գնացի։", ["Նա եկավ։", "Ես գնացի։"]),
        ("နေကောင်းတယ်။သွားမယ်။", ["နေကောင်းတယ်။", "သွားမယ်။"]),
        ("ខ្ញុំទៅ។គាត់មក៕ចប់", ["ខ្ញុំទៅ។", "គាត់មក៕", "ចប់"]),
        ("値は３．５です．次です．", ["値は３．５です．", "次です．"]),
        ("It burned.He left. Node.Js stays.", ["It burned.He left.", "Node.Js stays."]),
        ("...", ["..."]),
        ("   ", []),
    ],
)
def test_a_sentence_ends_at_its_mark(text: str, sentences: list[str]) -> None:
    assert texts(text) == sentences


def test_a_sentence_goes_on_in_the_next_segment_unless_there_is_a_pause() -> None:
    assert texts("She lives in", "Berlin. Since", "2004.") == ["She lives in Berlin.", "Since 2004."]
    apart = [segment("She lives in", 0, 1), segment("Berlin", 3, 4)]
    assert [each.text for each in sentences_of(apart)] == ["She lives in", "Berlin"]


def test_segments_without_spaces_between_words_are_joined_without_a_space() -> None:
    assert texts("我们明天", "见面。") == ["我们明天见面。"]


def test_another_speaker_begins_a_sentence() -> None:
    said = sentences_of([segment("We could", 0, 1, "SPEAKER_0"), segment("Go now.", 1, 2, "SPEAKER_1")])
    assert [(each.text, each.speaker) for each in said] == [
        ("We could", "SPEAKER_0"),
        ("Go now.", "SPEAKER_1"),
    ]


def test_times_are_those_of_the_words() -> None:
    words = [
        Word(start=start, end=end, word=word, confidence=1)
        for word, start, end in [("Yes.", 1.0, 1.5), ("No", 7.0, 7.25), ("way.", 7.5, 8.0)]
    ]
    spoken = Segment(start=1.0, end=8.0, text="Yes. No way.", confidence=1, words=words)
    assert [(each.start_ms, each.end_ms) for each in sentences_of([spoken])] == [(1000, 1500), (7000, 8000)]


def test_times_are_estimated_without_words_or_with_words_of_another_text() -> None:
    other = [Word(start=1, end=2, word="something", confidence=1)]
    plain = segment("Abcd. Efgh")
    for spoken in (plain, msgspec.structs.replace(plain, words=other)):
        assert [(each.start_ms, each.end_ms) for each in sentences_of([spoken])] == [(0, 5000), (6000, 10000)]


def test_a_thai_text_is_cut_at_spaces() -> None:
    text = " ".join(["ประชุมวันพรุ่งนี้ตอนบ่าย"] * 40)
    found = texts(text)
    assert all(len(each) <= LONGEST_SENTENCE for each in found)
    assert " ".join(found) == text


def test_no_character_is_cut_from_its_marks() -> None:
    assert all(not each.startswith("\u0301") for each in texts("e\u0301" * 1000))
    family = "👨\u200d👩\u200d👧"
    assert all(each.startswith("👨") for each in texts(family * 400))


@pytest.mark.parametrize("unit", [".", "?!", '."'])
def test_a_megabyte_of_marks_is_split_in_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))  # an expression that tries each mark anew would take hours
    assert "".join(texts(text)) == text


def test_a_megabyte_without_a_space_is_cut_in_time() -> None:
    found = texts("x" * 1_000_000)
    assert max(map(len, found)) <= LONGEST_SENTENCE
    assert sum(map(len, found)) == 1_000_000
    assert len(texts("\u0301" * 100_000)) >= 100_000 // LONGEST_SENTENCE


_TEXT = st.text(st.sampled_from("ab Z.?!。,'\"\u0301\u200d👩é1я文ไء؟\n"), max_size=80)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            _TEXT, st.floats(0, 50), st.floats(0, 20), st.sampled_from([None, "SPEAKER_0", "SPEAKER_1"])
        )
    )
)
def test_no_character_is_lost_and_every_sentence_is_in_bounds(
    given: list[tuple[str, float, float, str | None]],
) -> None:
    segments = [segment(text, start, start + length, speaker) for text, start, length, speaker in given]
    found = sentences_of(segments)
    assert "".join("".join(each.text.split()) for each in found) == "".join(
        "".join(each.text.split()) for each in segments
    )
    for each in found:
        assert 0 < len(each.text) <= LONGEST_SENTENCE
        assert each.text == each.text.strip()
        assert 0 <= each.start_ms <= each.end_ms


def test_a_sentence_ends_where_audio_is_missing() -> None:
    before = Segment(start=0, end=2, text="I am having a big", confidence=1, speaker="SPEAKER_0")
    after = Segment(start=2, end=4, text="seven twice last week.", confidence=1, speaker="SPEAKER_0")
    assert len(sentences_of([before, after])) == 1
    found = sentences_of([before, msgspec.structs.replace(after, after_gap=True)])
    assert [(each.text, each.after_gap) for each in found] == [
        ("I am having a big", False),
        ("seven twice last week.", True),
    ]
