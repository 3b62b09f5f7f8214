"""Chunks of a transcript: nothing is left out, and each is in its bounds."""

from __future__ import annotations

import random
import tracemalloc

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lapel.slices.search.passages.chunking import Chunk, chunks_of, size_in_words
from lapel.slices.search.service import Sentence, sentences_of
from lapel.slices.transcription.service import Segment
from tests.search.support import segments_of

MOST_WORDS = 90
LONGEST_REPEATED = 10
SPEAKERS = [None, "SPEAKER_0", "SPEAKER_1"]

_SENTENCES = st.lists(
    st.tuples(st.integers(1, 100), st.sampled_from(SPEAKERS), st.integers(0, 30_000)), max_size=60
)
# Words, marks, joiners, text from right to left, characters outside of the basic plane, NUL and control ones.
_HOSTILE = st.text(
    st.one_of(
        st.sampled_from("ab .?!\u3002\u0301\u200d\u202e\u2066\0\x07\n\ufeff\U0001f469\U00020000\u6587\u0e44"),
        st.characters(exclude_categories=("Cs",)),
    ),
    max_size=300,
)


def numbered(drawn: list[tuple[int, str | None, int]]) -> list[Sentence]:
    """Sentences of so many words, each of which names its sentence and place; a pause follows each."""
    made: list[Sentence] = []
    clock = 0
    for number, (words, speaker, pause) in enumerate(drawn):
        text = " ".join(f"{number}:{place}" for place in range(words))
        made.append(Sentence(text=text, speaker=speaker, start_ms=clock, end_ms=clock + 1000))
        clock += 1000 + pause
    return made


def numbers_in(chunk: Chunk) -> list[int]:
    """The numbers of its sentences, in order."""
    return list(dict.fromkeys(int(word.split(":")[0]) for word in chunk.text.split()))


@settings(max_examples=100)
@given(_SENTENCES)
def test_every_sentence_is_whole_in_a_chunk_and_at_a_border_perhaps_in_two(
    drawn: list[tuple[int, str | None, int]],
) -> None:
    sentences = numbered(drawn)
    chunks = chunks_of(sentences)
    reached = -1
    for chunk in chunks:
        held = numbers_in(chunk)
        assert held == list(range(held[0], held[-1] + 1))
        parts = [sentences[number] for number in held]
        assert chunk.text == " ".join(each.text for each in parts)
        # It goes on where the chunk before it ended, or repeats one short sentence, and has a new one.
        repeats = reached + 1 - held[0]
        assert repeats in {0, 1}
        assert held[-1] > reached
        if repeats:
            assert size_in_words(parts[0].text) <= LONGEST_REPEATED
        words = size_in_words(chunk.text)
        assert words <= MOST_WORDS or len(held) - repeats == 1
        assert (chunk.start_ms, chunk.end_ms) == (parts[0].start_ms, parts[-1].end_ms)
        speakers = {each.speaker for each in parts}
        assert chunk.speaker == (speakers.pop() if len(speakers) == 1 else None)
        reached = held[-1]
    assert reached == len(sentences) - 1


@settings(max_examples=100)
@given(st.lists(st.tuples(_HOSTILE, st.floats(0, 50), st.floats(0, 20), st.sampled_from(SPEAKERS))))
def test_hostile_text_is_in_chunks_as_it_was_said(
    drawn: list[tuple[str, float, float, str | None]],
) -> None:
    segments = [
        Segment(start=start, end=start + length, text=text, confidence=1)
        if speaker is None
        else Segment(start=start, end=start + length, text=text, confidence=1, speaker=speaker)
        for text, start, length, speaker in drawn
    ]
    sentences = sentences_of(segments)
    chunks = chunks_of(sentences)
    assert bool(chunks) == bool(sentences)
    texts = [each.text for each in chunks]
    place = 0
    for sentence in sentences:  # each in the chunk of the one before it, or in the next one
        while sentence.text not in texts[place]:
            place += 1
    assert all(0 <= each.start_ms <= each.end_ms for each in chunks)
    assert all(len(each.text.encode("utf-16-le")) <= 8_000 for each in chunks)


def test_a_transcript_of_twelve_hours_is_cut_in_little_memory() -> None:
    drawn = random.Random(12)
    words = [f"word{number}" for number in range(1000)]
    texts = [
        (SPEAKERS[1 + drawn.randrange(2)] or "", f"{' '.join(drawn.choices(words, k=drawn.randint(1, 25)))}.")
        for _ in range(9_000)
    ]
    segments = segments_of(texts, 4.8)
    size = sum(len(text) for _, text in texts)
    tracemalloc.start()
    try:
        chunks = chunks_of(sentences_of(segments))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    said = sum(len(text.split()) for _, text in texts)
    assert said > 100_000
    assert max(size_in_words(each.text) for each in chunks) <= MOST_WORDS
    assert said <= sum(size_in_words(each.text) for each in chunks) <= 1.2 * said
    assert most < 20 * size


def test_a_chunk_ends_where_audio_is_missing_and_the_next_repeats_nothing() -> None:
    sentences = numbered([(5, None, 0)] * 4)
    assert len(chunks_of(sentences)) == 1
    sentences[2] = msgspec.structs.replace(sentences[2], after_gap=True)
    assert [numbers_in(chunk) for chunk in chunks_of(sentences)] == [[0, 1], [2, 3]]
