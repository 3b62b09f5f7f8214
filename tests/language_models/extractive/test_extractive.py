"""Which sentences stand for a transcript, and which support an answer. The vectors are made by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lapel.slices.language_models.extractive.content_words import content_of, word_count
from lapel.slices.language_models.extractive.representative import is_statement, representative
from lapel.slices.language_models.extractive.support import SUPPORTED, features_of, score, supported

TALK = [
    "Good morning, everybody, and welcome.",
    "The kitchen is delivered on Friday by Anderson and Sons.",
    "The kitchen will be delivered on Friday, they say.",
    "Who pays for the delivery of the kitchen?",
    "Yes, exactly.",
    "The painters come on the day after and need two days.",
    "My sister has bought a horse that is called Ramona.",
    "The whole house costs us 48,500 euros so far.",
    "Then the electrician looks at the wires in the cellar.",
]
TOPICS = [0, 1, 1, 1, 0, 2, 3, 4, 2]


def vectors_of(topics: list[int], likeness: float = 0.8) -> NDArray[np.float32]:
    """Unit vectors of 16 numbers: one direction that all share, as in e5, and one of each topic."""
    rows = np.zeros((len(topics), 16), np.float32)
    rows[:, 0] = likeness**0.5
    for at, topic in enumerate(topics):
        rows[at, 1 + topic] = (1 - likeness) ** 0.5
    return rows


def test_representatives_are_statements_and_different() -> None:
    picked = representative(TALK, vectors_of(TOPICS), 4)
    assert len(set(picked)) == 4
    assert {1, 2, 5, 6, 7, 8} >= set(picked)
    assert not {1, 2} <= set(representative(TALK, vectors_of(TOPICS), 3))


def test_if_nothing_is_a_statement_something_is_picked() -> None:
    assert representative(["Yes.", "Who?", "No."], vectors_of([0, 1, 2]), 2) != []
    assert representative([], vectors_of([]), 3) == []
    assert representative(TALK, vectors_of(TOPICS), 0) == []


def test_repetitions_are_picked_once() -> None:
    again = ["The kitchen is delivered on Friday at noon."] * 5
    assert len(representative(again, vectors_of([0] * 5), 3)) == 1


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("The kitchen is delivered on Friday.", True),
        ("Wann kommt die Küche denn nun endlich?", False),
        ("Guten Morgen zusammen, schön, dass ihr da seid.", False),
        ("Good morning, nice to see you all.", False),
        ("Right, yes.", False),
        ("会議は来週の金曜日に本社で開かれます。", True),
        ("会議はいつ本社で開かれるのですか？", False),
        ("", False),
    ],
)
def test_statements(text: str, holds: bool) -> None:
    assert is_statement(text) is holds


def test_a_sentence_that_answers_is_found() -> None:
    asked = vectors_of([1])[0]
    found = supported("When does Anderson deliver the kitchen?", TALK, vectors_of(TOPICS), asked)
    assert found[0].index == 1
    assert found[0].score >= SUPPORTED
    assert 3 not in [each.index for each in found]  # a question answers nothing
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert len(found) <= 3


def test_what_nobody_says_has_no_support() -> None:
    asked = vectors_of([9])[0]
    assert supported("What did Miller's dentist recommend?", TALK, vectors_of(TOPICS), asked) == []
    assert supported("What?", [], vectors_of([]), asked) == []


def test_features_tell_names_and_numbers_that_are_nowhere() -> None:
    asked = vectors_of([4])[0]
    here, gone = (
        features_of(question, TALK, vectors_of(TOPICS), asked)[7]
        for question in ("Does it cost 48,500?", "Does it cost 51,000?")
    )
    assert (here.named, here.absent) == (1.0, 0.0)
    assert (gone.named, gone.absent) == (0.0, 1.0)
    assert score(here) > score(gone)
    assert here.length == 10


def test_content_leaves_out_function_words_and_ends() -> None:
    found = content_of("When was the delivery for Ramona delivered? We asked Ramona's sister on 3.5.")
    assert found.names == content_of("x Ramona").names != frozenset()
    assert found.numbers == {"35"}
    assert content_of("kitchens").words == content_of("kitchen").words
    assert content_of("Lieferung geliefert").words == content_of("LIEFERUNG Geliefert").words
    assert content_of("Was ist das?").words == frozenset()
    assert content_of("会議は三時").words & content_of("三時の会議").words == {"会議", "三時"}


@given(st.text(max_size=80))
def test_any_text_has_content(text: str) -> None:
    found = content_of(text)
    assert found.names <= found.words
    assert word_count(text) >= 0
    assert is_statement(text) in (True, False)


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=40))
def test_any_texts_have_scores(texts: list[str], question: str) -> None:
    vectors = vectors_of([at % 5 for at in range(len(texts))])
    scores = [score(each) for each in features_of(question, texts, vectors, vectors_of([2])[0])]
    assert all(0 <= each <= 1 for each in scores)
    assert len(scores) == len(texts)


def test_a_long_transcript_needs_little_memory() -> None:
    """The likeness of all its sentences to each other would be 100 MB. Most of them say the same."""
    count = 5_000
    texts = [f"Sentence {number} is about subject {number % 7} of many." for number in range(count)]
    tracemalloc.start()
    assert len(representative(texts, vectors_of([at % 7 for at in range(count)]), 8)) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
