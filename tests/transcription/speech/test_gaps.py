"""Text on both sides of missing audio is not one sentence."""

from __future__ import annotations

from msgspec import UNSET

from lapel.slices.transcription.speech.assembly import assemble
from lapel.slices.transcription.speech.bounds import bounded
from lapel.slices.transcription.speech.messages import Groups
from lapel.slices.transcription.speech.transcript import Segment, Transcript
from tests.transcription.speech.test_assembly import heard, spoken


def made(segments: list[Segment], gaps: list[int], groups: Groups | None = None) -> Transcript:
    return assemble([heard(segments)], [(0, 60_000)], groups, duration_ms=60_000, gaps=gaps)


def test_a_segment_is_split_where_audio_is_missing() -> None:
    one, two = made([spoken("I take the big salmon seven times", 1.0)], [2_950]).segments
    assert (one.text, one.start, one.end, one.after_gap) == ("I take the big", 1.0, 2.9, False)
    assert (two.text, two.start, two.end, two.after_gap) == ("salmon seven times", 3.0, 4.4, True)
    assert [word.word for word in two.words or []] == ["salmon", "seven", "times"]


def test_the_whole_text_has_a_line_break_at_a_gap() -> None:
    found = made([spoken("I am having a big", 1.0), spoken("twice last week.", 5.2)], [5_000])
    assert found.full_text == "I am having a big\ntwice last week."


def test_a_word_over_the_gap_belongs_to_the_side_of_its_larger_part() -> None:
    one, two = made([spoken("I take the big salmon", 1.0)], [2_600]).segments
    assert (one.text, one.end) == ("I take the", 2.4)
    assert (two.text, two.start) == ("big salmon", 2.6)


def test_without_words_the_text_is_split_by_its_length() -> None:
    said = Segment(start=0, end=10, text="aaaa bbbb cccc dddd", confidence=1)
    assert [each.text for each in made([said], [5_000]).segments] == ["aaaa bbbb", "cccc dddd"]


def test_several_gaps_and_gaps_without_text() -> None:
    found = made(
        [spoken("one two three four five six", 1.0), spoken("seven", 30.0)], [500, 2_000, 3_000, 40_000]
    )
    assert [(each.text, each.after_gap) for each in found.segments] == [
        ("one two", True),
        ("three four", True),
        ("five six", True),
        ("seven", False),
    ]


def test_speakers_stay_and_no_segment_spans_a_gap() -> None:
    groups = Groups(windows=[(0.0, 2.0), (2.0, 6.0)], labels=[0, 1])
    found = made([spoken("one two three four five six seven", 1.0)], [3_500], groups).segments
    assert all(not each.start < 3.5 < each.end for each in found)
    assert [each.text for each in found if each.after_gap] == ["six seven"]


def test_segments_are_not_joined_over_a_gap() -> None:
    """However many there are."""
    many = [
        Segment(start=at, end=at + 0.5, text=f"{at}", confidence=1, speaker=UNSET, after_gap=at == 2_501)
        for at in range(6_000)
    ]
    found = bounded(many)
    assert len(found) == 5_000
    (after,) = [each for each in found if each.after_gap]
    assert after.start == 2_501
    before = found[found.index(after) - 1]
    assert before.text.split()[-1] == "2500"


def test_of_a_long_text_only_the_first_part_is_behind_the_gap() -> None:
    long = Segment(start=1, end=50, text="word " * 5_000, confidence=1, after_gap=True)
    assert [each.after_gap for each in bounded([long])] == [True, False, False]
