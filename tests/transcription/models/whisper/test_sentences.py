"""Words become segments that can be read, and keep what the contract promises of times and text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.models.whisper.sentences import Spoken, segments

_times = st.floats(min_value=0, max_value=90, allow_nan=False)
_texts = st.one_of(
    st.sampled_from(
        [" yes", " no.", " Mr.", ",", " ", "", "。", " - ", "好", "\x00", " \u202e", " e.g.", " …"]
    ),
    st.text(max_size=8),
)
_words = st.lists(
    st.builds(
        Spoken,
        start=_times,
        end=_times,
        text=_texts,
        confidence=st.floats(0, 1),
        language=st.sampled_from(["en", "de"]),
    ),
    max_size=60,
)


def spoken(text: str, *, each: float = 0.4, pauses: dict[int, float] | None = None) -> list[Spoken]:
    """The words of a text, one after the other; `pauses`: seconds before the word of that number."""
    words: list[Spoken] = []
    at = 0.0
    for number, word in enumerate(text.split()):
        at += (pauses or {}).get(number, 0.0)
        words.append(Spoken(round(at, 3), round(at + each, 3), f" {word}", 0.5, "en"))
        at += each
    return words


def texts(words: list[Spoken]) -> list[str]:
    return [segment.text for segment in segments(words, latest=1000)]


@given(_words, st.floats(min_value=1, max_value=90))
@settings(max_examples=60, deadline=None)
def test_segments_are_in_order_apart_and_within_the_piece(words: list[Spoken], latest: float) -> None:
    found = segments(words, latest=latest)
    end = 0.0
    for segment in found:
        assert end <= segment.start < segment.end <= latest + 1e-3
        assert segment.text.strip() == segment.text != ""
        assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in segment.text)
        assert 0 <= segment.confidence <= 1
        assert segment.words
        assert (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
        assert all(word.start < word.end and word.word for word in segment.words)
        end = segment.end


@given(_words)
@settings(max_examples=60, deadline=None)
def test_no_word_is_lost(words: list[Spoken]) -> None:
    def letters(text: str) -> list[str]:
        return [each for each in text if each.isalnum()]

    said = letters("".join(word.text for word in words))
    assert letters("".join(segment.text for segment in segments(words, latest=1000))) == said


def test_a_sentence_is_a_segment() -> None:
    words = spoken("He came home at last. She had gone to the market.")
    assert texts(words) == ["He came home at last.", "She had gone to the market."]


def test_a_title_ends_no_sentence() -> None:
    title = "There he met his friend Mr. Dashwood of Norland."
    assert texts(spoken(title)) == [title]


def test_a_short_word_ends_a_sentence_when_a_pause_follows() -> None:
    words = spoken("To all of this she said no. Then he went away.", pauses={7: 0.4})
    assert texts(words) == ["To all of this she said no.", "Then he went away."]


def test_a_short_sentence_joins_the_next() -> None:
    assert texts(spoken("Yes. I will come along tomorrow.")) == ["Yes. I will come along tomorrow."]


def test_a_pause_ends_a_segment() -> None:
    assert texts(spoken("one two three four", pauses={2: 1.0})) == ["one two", "three four"]


def test_speech_without_punctuation_does_not_become_endless() -> None:
    found = segments(spoken("word " * 200), latest=1000)
    assert max(segment.end - segment.start for segment in found) <= 20.5


def test_languages_without_spaces_get_none() -> None:
    words = [Spoken(0.5 * at, 0.5 * at + 0.5, each, 0.9, "zh") for at, each in enumerate("今天天气很好。")]
    assert texts(words) == ["今天天气很好。"]


def test_the_confidence_is_the_mean_of_the_words() -> None:
    words = [Spoken(0, 1, " a", 0.25, "en"), Spoken(1, 2, " b", 0.75, "en")]
    assert segments(words, latest=9)[0].confidence == 0.5


def test_a_segment_has_one_language() -> None:
    words = [Spoken(0, 1, " Gut", 0.9, "de"), Spoken(1, 2, " well", 0.9, "en")]
    assert texts(words) == ["Gut", "well"]
