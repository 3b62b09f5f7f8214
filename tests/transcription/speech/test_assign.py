"""Words get their speakers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.models.speakers.voice_windows import windows
from lapel.slices.transcription.speech.assign import with_speakers
from lapel.slices.transcription.speech.messages import Groups, Span
from lapel.slices.transcription.speech.transcript import Segment, Word


def groups(*turns: tuple[float, float, int]) -> Groups:
    """Windows as `describe` lays them over turns that a pause parts."""
    found: list[Span] = []
    labels: list[int] = []
    for start, end, label in turns:
        inside = windows([(start, end)])
        found += inside
        labels += [label] * len(inside)
    return Groups(windows=found, labels=labels)


def segment(text: str, *times: float, confidence: float = 0.5, spaced: bool = True) -> Segment:
    """A segment of which word i lasts from times[i] to times[i + 1]."""
    words = text.split() if spaced else list(text)
    assert len(times) == len(words) + 1
    return Segment(
        start=times[0],
        end=times[-1],
        text=text,
        confidence=confidence,
        words=[
            Word(start=times[index], end=times[index + 1], word=word, confidence=round(0.9 - index / 100, 2))
            for index, word in enumerate(words)
        ],
    )


def told(segments: list[Segment]) -> list[tuple[object, str]]:
    return [(each.speaker, each.text) for each in segments]


def test_without_windows_nothing_changes() -> None:
    said = [segment("One two.", 0, 1, 2)]
    assert with_speakers(said, Groups(windows=[], labels=[])) == said
    assert with_speakers([], groups((0, 3, 0))) == []


def test_a_segment_of_one_voice_stays_whole() -> None:
    said = segment("One two.", 0, 1, 2)
    assert with_speakers([said], groups((0, 2, 4))) == [msgspec.structs.replace(said, speaker="SPEAKER_0")]


def test_a_segment_is_split_at_a_turn() -> None:
    said = segment("How are you? I am fine.", 0, 0.7, 1.4, 2.0, 2.5, 3.2, 4.0)
    first, second = with_speakers([said], groups((0, 2.0, 1), (2.1, 4.0, 0)))
    assert (first.speaker, first.text, first.start, first.end) == ("SPEAKER_0", "How are you?", 0, 2.0)
    assert (second.speaker, second.text, second.start, second.end) == ("SPEAKER_1", "I am fine.", 2.0, 4.0)
    assert first.confidence == pytest.approx((0.9 + 0.89 + 0.88) / 3)
    assert second.words == list(said.words or [])[3:]


def test_speakers_are_numbered_as_they_appear() -> None:
    said = [segment("First.", 0, 1), segment("Second.", 2, 3), segment("Third.", 4, 5)]
    found = with_speakers(said, groups((0, 1, 7), (2, 3, 2), (4, 5, 7)))
    assert [each.speaker for each in found] == ["SPEAKER_0", "SPEAKER_1", "SPEAKER_0"]


def test_a_turn_is_after_the_sentence_though_the_times_of_its_words_are_off() -> None:
    # The voice changes at 2.0; Whisper has put "I" into the pause before it.
    said = segment("Who will do it? I will do it today.", 0, 0.5, 1.0, 1.4, 1.7, 1.95, 2.4, 2.8, 3.1, 3.8)
    assert told(with_speakers([said], groups((0, 1.9, 0), (2.1, 3.8, 1)))) == [
        ("SPEAKER_0", "Who will do it?"),
        ("SPEAKER_1", "I will do it today."),
    ]


def test_a_turn_within_overlapping_windows_is_where_the_sentence_ends() -> None:
    # One stretch of speech; the window from 1.5 to 3.0 has heard both and is counted to the first.
    heard = Groups(
        windows=[(0.0, 1.5), (0.75, 2.25), (1.5, 3.0), (2.25, 3.75), (3.0, 4.5)], labels=[0, 0, 0, 1, 1]
    )
    said = segment(
        "We meet at nine then. Yes, see you there.", 0, 0.6, 1.2, 1.6, 2.1, 2.4, 2.8, 3.3, 3.9, 4.5
    )
    assert told(with_speakers([said], heard)) == [
        ("SPEAKER_0", "We meet at nine then."),
        ("SPEAKER_1", "Yes, see you there."),
    ]


OVERLAPPING = Groups(
    windows=[(0.0, 1.5), (0.75, 2.25), (1.5, 3.0), (2.25, 3.75), (3.0, 4.5)], labels=[0, 0, 0, 1, 1]
)


def timed(*words: tuple[float, float, str]) -> Segment:
    return Segment(
        start=words[0][0],
        end=words[-1][1],
        text=" ".join(word for _, _, word in words),
        confidence=1,
        words=[Word(start=start, end=end, word=word, confidence=1) for start, end, word in words],
    )


def test_a_pause_takes_the_place_of_a_full_stop() -> None:
    # The voice changes at about 2.6, where a word ends too.
    said = timed(
        (0.0, 0.9, "so"), (0.9, 2.1, "that"), (2.5, 2.6, "is"), (2.6, 3.3, "right"), (3.3, 4.5, "yes")
    )
    assert told(with_speakers([said], OVERLAPPING)) == [
        ("SPEAKER_0", "so that"),
        ("SPEAKER_1", "is right yes"),
    ]


def test_a_turn_is_not_far_from_where_the_voice_changes() -> None:
    said = timed(
        (0.0, 0.9, "All"),
        (0.9, 1.4, "right."),
        (2.0, 2.3, "But"),
        (2.3, 2.6, "if"),
        (2.6, 3.5, "no"),
        (3.5, 4.5, "wait"),
    )
    assert told(with_speakers([said], OVERLAPPING)) == [
        ("SPEAKER_0", "All right. But if"),
        ("SPEAKER_1", "no wait"),
    ]


def test_a_short_answer_between_two_sentences_is_a_turn() -> None:
    said = [
        segment("Are you coming along?", 0, 0.5, 1, 1.5, 2),
        segment("Yes.", 2.2, 2.7),
        segment("Then let us go now.", 3, 3.5, 4, 4.5, 5, 5.5),
    ]
    found = with_speakers(said, groups((0, 2, 0), (2.2, 2.7, 1), (3, 5.5, 0)))
    assert [each.speaker for each in found] == ["SPEAKER_0", "SPEAKER_1", "SPEAKER_0"]


def test_a_stray_word_within_a_sentence_is_nobodys_turn() -> None:
    said = segment("I think that this is fine.", 0, 0.7, 1.4, 2.1, 2.5, 3.2, 4)
    heard = Groups(windows=[(0.0, 1.5), (1.6, 3.0), (3.0, 4.0)], labels=[0, 1, 0])
    assert len(with_speakers([said], heard)) == 3
    heard = Groups(windows=[(0.0, 2.0), (2.1, 2.5), (2.6, 4.0)], labels=[0, 1, 0])
    assert told(with_speakers([said], heard)) == [("SPEAKER_0", said.text)]


def test_a_long_word_within_a_sentence_is_somebodys() -> None:
    said = segment("I think absolutely this is", 0, 0.9, 1.8, 2.6, 3.4, 4)
    heard = Groups(windows=[(0.0, 1.5), (1.8, 2.6), (2.9, 4.0)], labels=[0, 1, 0])
    assert [text for _, text in told(with_speakers([said], heard))] == ["I think", "absolutely", "this is"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Is that right? I think so.", ["Is that right?", "I think so."]),
        ("So is that it? Think so.", ["So is that it?", "Think so."]),
    ],
)
def test_a_stray_word_between_two_people_belongs_to_its_sentence(text: str, parts: list[str]) -> None:
    said = segment(text, 0, 0.7, 1.4, 2.1, 2.5, 3.2, 4)
    heard = Groups(windows=[(0.0, 2.0), (2.1, 2.5), (2.6, 4.0)], labels=[0, 1, 2])
    assert told(with_speakers([said], heard)) == [("SPEAKER_0", parts[0]), ("SPEAKER_1", parts[1])]


def test_without_words_a_segment_is_of_whoever_speaks_longest() -> None:
    said = [
        Segment(start=0, end=10, text="all of this", confidence=0.4),
        Segment(start=9, end=20, text="and that", confidence=0.4),
        Segment(start=90, end=91, text="long after", confidence=0.4),
    ]
    found = with_speakers(said, groups((0, 4, 0), (4.5, 14, 1), (15, 16, 0)))
    assert [each.speaker for each in found] == ["SPEAKER_0", "SPEAKER_0", "SPEAKER_1"]
    assert [(each.text, each.confidence) for each in found] == [(each.text, 0.4) for each in said]


def test_text_without_spaces_is_cut_between_its_words() -> None:
    said = segment("元気ですか。はい、元気", *(index / 2 for index in range(12)), spaced=False)
    assert told(with_speakers([said], groups((0, 2.9, 0), (3.05, 5.5, 1)))) == [
        ("SPEAKER_0", "元気ですか。"),
        ("SPEAKER_1", "はい、元気"),
    ]


def test_text_between_words_stays() -> None:
    said = msgspec.structs.replace(
        segment("one two three four", 0, 1, 2, 3, 4), text="“One” – “two” … – three, “four”!"
    )
    said = msgspec.structs.replace(
        said,
        words=[
            msgspec.structs.replace(word, word=text)
            for word, text in zip(said.words or [], ["One", "two", "three", "four"], strict=True)
        ],
    )
    assert told(with_speakers([said], groups((0, 2, 0), (2, 4, 1)))) == [
        ("SPEAKER_0", "“One” – “two”"),
        ("SPEAKER_1", "… – three, “four”!"),
    ]


@pytest.mark.parametrize(("text", "parts"), [("other words", ["a b", "c d"]), ("別の言葉", ["ab", "cd"])])
def test_words_that_are_not_in_the_text_are_joined_as_it_is(text: str, parts: list[str]) -> None:
    said = msgspec.structs.replace(segment("a b c d", 0, 1, 2, 3, 4), text=text)
    assert [each.text for each in with_speakers([said], groups((0, 2, 0), (2, 4, 1)))] == parts


TEXTS = st.sampled_from(["I", "see.", "well,", "no?", "thirty-five", "語", "…", "O'Neill", "3.5"])
TIME = st.floats(0, 30)
WORDS = st.lists(st.tuples(TEXTS, st.floats(0, 2), st.floats(0, 1)), max_size=12)


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    """In order, with and without words, with and without spaces."""
    found: list[Segment] = []
    at = 0.0
    for _ in range(draw(st.integers(0, 5))):
        words: list[Word] = []
        start = at
        for text, length, pause in draw(WORDS):
            words.append(Word(start=at, end=at + length, word=text, confidence=0.5))
            at += length + pause
        at += 0.1
        joined = draw(st.sampled_from([" ", ""])).join(word.word for word in words) or "nothing"
        found.append(Segment(start=start, end=at, text=joined, confidence=0.5, words=words or msgspec.UNSET))
    return found


WINDOWS = st.lists(st.tuples(TIME, st.floats(0.4, 1.5), st.integers(0, 3)), min_size=1, max_size=12)


@settings(deadline=None)
@given(segments(), WINDOWS)
def test_no_word_is_lost_or_changed(said: list[Segment], voices: list[tuple[float, float, int]]) -> None:
    heard = Groups(
        windows=[(start, start + length) for start, length, _ in voices],
        labels=[label for _, _, label in voices],
    )
    found = with_speakers(said, heard)
    assert [word for each in found for word in each.words or ()] == [
        word for each in said for word in each.words or ()
    ]
    assert "".join(each.text for each in found).replace(" ", "") == "".join(
        each.text for each in said
    ).replace(" ", "")
    assert all(each.end > each.start and each.text.strip() for each in found)
    names = list(dict.fromkeys(each.speaker for each in found))
    assert names == [f"SPEAKER_{index}" for index in range(len(names))]
    assert len(names) <= len(set(heard.labels))
