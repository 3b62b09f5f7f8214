"""Whatever was heard in the pieces, the transcript keeps its promises."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.foundation.text_cleaning import plain
from lapel.slices.transcription.speech.assembly import assemble, settled_language, spoken_language
from lapel.slices.transcription.speech.messages import Groups, Heard, Span
from lapel.slices.transcription.speech.segmentation import LONGEST, shortened
from lapel.slices.transcription.speech.transcript import Segment, Transcript, Word

UNSET = msgspec.UNSET
TIMES = st.floats(-100, 400) | st.floats()
TEXTS = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["Yes.", "and so on,", " 数えて。いち ", "\x00\ud800"]
)
SPEAKERS = st.sampled_from(["A", "B", "\x07", "SPEAKER_7"]) | st.just(UNSET)
WORDS = st.lists(st.builds(Word, start=TIMES, end=TIMES, word=TEXTS, confidence=st.floats()), max_size=5)
SEGMENTS = st.builds(
    Segment,
    start=TIMES,
    end=TIMES,
    text=TEXTS,
    confidence=st.floats(),
    speaker=SPEAKERS,
    words=WORDS | st.just(UNSET),
)


def heard(
    segments: list[Segment], *, language: str | None = "en", sure: float | None = 0.9, speech: float = 10.0
) -> Heard:
    spans: list[Span] = [(0.0, speech)] if speech else []
    return Heard(segments=segments, speech=spans, language=language, language_probability=sure, model="base")


def spoken(text: str, start: float = 0.0, *, pace: float = 0.4, gap: float = 0.1, at: int = -1) -> Segment:
    """A segment of evenly spoken words; after word number `at` there is a pause of two seconds."""
    words: list[Word] = []
    now = start
    for number, word in enumerate(text.split()):
        words.append(Word(start=now, end=now + pace, word=word, confidence=0.9))
        now += pace + (2.0 if number == at else gap)
    return Segment(start=start, end=words[-1].end, text=text, confidence=0.8, words=words)


@given(
    lengths=st.lists(st.integers(1, 120_000), min_size=1, max_size=4),
    data=st.data(),
    labels=st.lists(st.integers(0, 2), max_size=6),
    speakers=st.booleans(),
)
def test_promises_are_kept_whatever_was_heard(
    lengths: list[int], data: st.DataObject, labels: list[int], speakers: bool
) -> None:
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    pieces = list(zip([0, *ends], ends, strict=False))
    told = [heard(data.draw(st.lists(SEGMENTS, max_size=5))) for _ in pieces]
    windows = [(20.0 * index, 20.0 * index + 20) for index in range(len(labels))]
    groups = Groups(windows=windows, labels=labels) if speakers else None
    made = assemble(told, pieces, groups, duration_ms=ends[-1])
    check(made, pieces, alone=speakers)
    wanted = [segment.text for each in told for segment in each.segments if segment.words is UNSET]
    lost = Counter(plain("".join(map(plain, wanted)))) - Counter(made.full_text)
    assert not {each for each in lost if each.isprintable()} - {" "}


def check(made: Transcript, pieces: list[tuple[int, int]], *, alone: bool) -> None:
    """`alone`: only one speaker at a time can have been found."""
    msgspec.json.encode(made)
    names: list[str] = []
    last = Segment(start=0, end=0, text="", confidence=0)
    for segment in made.segments:
        assert last.start <= segment.start < segment.end
        assert segment.end - segment.start <= LONGEST + 1e-6
        assert segment.text == plain(segment.text) != ""
        assert 0 <= segment.confidence <= 1
        assert any(low / 1000 <= segment.start and segment.end <= high / 1000 for low, high in pieces)
        if alone:
            assert last.end <= segment.start
        if segment.speaker is not UNSET and segment.speaker not in names:
            names.append(segment.speaker)
        before = segment.start
        for word in segment.words or ():
            assert before <= word.start < word.end <= segment.end
            assert word.word == plain(word.word) != ""
            before = word.end
        last = segment
    assert names == [f"SPEAKER_{number}" for number in range(len(names))]


def test_a_piece_boundary_makes_no_overlap() -> None:
    """The first piece's model heard beyond its end, the second one's before its start."""
    first = Segment(start=50.0, end=61.5, text="one", confidence=0.9)
    second = Segment(start=59.0, end=63.0, text="two", confidence=0.9)
    made = assemble([heard([first]), heard([second])], [(0, 60_000), (60_000, 120_000)], duration_ms=120_000)
    assert [(each.start, each.end) for each in made.segments] == [(50.0, 60.0), (60.0, 63.0)]


def test_two_who_speak_at_once_may_overlap_and_one_may_not() -> None:
    said = [
        Segment(start=0.0, end=5.0, text="I think", confidence=0.9, speaker="b"),
        Segment(start=4.0, end=6.0, text="No", confidence=0.9, speaker="a"),
        Segment(start=5.5, end=8.0, text="never", confidence=0.9, speaker="a"),
    ]
    made = assemble([heard(said)], [(0, 9_000)], duration_ms=9_000)
    assert [(each.start, each.end, each.speaker) for each in made.segments] == [
        (0.0, 5.0, "SPEAKER_0"),
        (4.0, 5.5, "SPEAKER_1"),
        (5.5, 8.0, "SPEAKER_1"),
    ]


def test_segments_are_split_at_turns() -> None:
    groups = Groups(windows=[(0.0, 1.5), (1.5, 3.0)], labels=[1, 0])
    made = assemble([heard([spoken("yes of course no never mind")])], [(0, 3_000)], groups, duration_ms=3_000)
    assert [(each.speaker, each.text) for each in made.segments] == [
        ("SPEAKER_0", "yes of course"),
        ("SPEAKER_1", "no never mind"),
    ]


def test_long_segments_are_cut_at_the_ends_of_sentences() -> None:
    text = " ".join(f"This is sentence number {number} of it." for number in range(20))
    parts = shortened(spoken(text))
    assert " ".join(part.text for part in parts) == text
    assert all(part.text.endswith("of it.") for part in parts)
    assert all(10 < part.end - part.start <= LONGEST for part in parts)
    assert [word for part in parts for word in part.words or ()] == spoken(text).words


def test_without_punctuation_they_are_cut_at_a_pause() -> None:
    text = " ".join(f"word{number}" for number in range(70))
    parts = shortened(spoken(text, at=40))
    assert parts[0].text.endswith("word40")


def test_without_word_times_they_are_cut_by_the_length_of_the_text() -> None:
    text = " ".join("Nobody knows when these words were said." for _ in range(40))
    parts = shortened(Segment(start=10.0, end=100.0, text=text, confidence=0.8))
    assert " ".join(part.text for part in parts) == text
    assert (parts[0].start, parts[-1].end) == (10.0, 100.0)
    assert all(part.text.endswith("said.") and part.words is UNSET for part in parts)


def test_a_language_without_spaces_is_cut_too() -> None:
    text = "今日は良い天気です。" * 40
    parts = shortened(Segment(start=0.0, end=90.0, text=text, confidence=0.8))
    assert "".join(part.text for part in parts) == text
    assert all(part.text.endswith("。") and part.end - part.start <= LONGEST for part in parts)
    words = [
        Word(start=n * 1.0, end=n + 1.0, word=each, confidence=1)
        for n, each in enumerate("今日は良い天気" * 8)
    ]
    parts = shortened(Segment(start=0.0, end=56.0, text="今日は良い天気" * 8, confidence=0.8, words=words))
    assert "".join(part.text for part in parts) == "今日は良い天気" * 8


def test_words_that_are_not_those_of_the_text_take_its_place_when_it_is_cut() -> None:
    segment = spoken("twenty of them " * 30)
    segment = msgspec.structs.replace(segment, text="20 of them " * 30)
    assert " ".join(part.text for part in shortened(segment)) == ("twenty of them " * 30).strip()


def test_a_word_that_lasts_for_minutes_ends_early() -> None:
    word = Word(start=5.0, end=200.0, word="Mmm", confidence=0.1)
    (part,) = shortened(Segment(start=5.0, end=200.0, text="Mmm", confidence=0.1, words=[word]))
    assert part.end == part.words[0].end == 35.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("given", "fit"),
    [
        (" a\r\nb\tc\u2028d ", "a b c d"),
        ("\x1b[31mred\x00\x07", "[31mred"),
        ("\u202eesrever", "esrever"),
        ("\ud83d\udc4d 👍🏽 नमस्ते", "👍🏽 नमस्ते"),
        ("\ufeff\ufffe\U0001ffff", ""),
        ("\u200b\u200d", ""),
    ],
)
def test_text_is_made_fit(given: str, fit: str) -> None:
    assert plain(given) == fit


def test_the_language_is_the_one_that_was_spoken_longest() -> None:
    told = [
        heard([], language="fr", sure=0.4, speech=2.0),
        heard([], language="en", sure=0.98, speech=40.0),
        heard([], language="en", sure=1.0, speech=50.0),
        heard([], language=None, sure=None, speech=0.0),
    ]
    assert spoken_language(told) == ("en", 0.98)
    assert spoken_language(told[3:]) == (None, None)
    mixed = msgspec.structs.replace(told[1], seconds={"en": 21.0, "de": 19.0})
    assert spoken_language([mixed]) == ("en", 0.98)
    assert spoken_language([mixed, mixed, heard([], language="de", sure=0.9, speech=30.0)]) == ("de", 0.9)
    other = msgspec.structs.replace(mixed, language="fr", seconds={"fr": 21.0, "de": 19.0})
    assert spoken_language([mixed, other]) == ("de", None)
    made = assemble([], [], duration_ms=0)
    assert (made.segments, made.language, made.model, made.confidence) == ([], None, "", None)


def test_a_language_is_settled_when_it_is_clear() -> None:
    short, unsure = heard([], language="th", speech=1.0), heard([], language="th", sure=0.6)
    assert settled_language([]) is None
    assert settled_language([short, unsure]) is None
    assert settled_language([short, unsure, heard([], language="fr")]) == "fr"
