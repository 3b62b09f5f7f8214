"""Which sentences support an answer. The vectors are made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lapel.slices.language_models.extractive.content_words import (
    all_words,
    content_of,
    content_words,
    numbers_of,
    word_count,
)
from lapel.slices.language_models.extractive.number_words import spoken_numbers
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
    assert found.numbers == {"3.5"}
    assert content_of("kitchens").words == content_of("kitchen").words
    assert content_of("Lieferung geliefert").words == content_of("LIEFERUNG Geliefert").words
    assert content_of("Was ist das?").words == frozenset()
    assert content_of("会議は三時").words & content_of("三時の会議").words == {"会議", "三時"}


def test_characters_of_scripts_without_spaces_are_half_a_word() -> None:
    assert [word_count(text) for text in ("我们决定", "好", "l'eau coule", "회의 시간", "हफ्ते में उत्पाद")] == [
        2,
        1,
        2,
        2,
        3,
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("l'eau", "d’eau"),
        ("we've ordered", "They're ordering"),
        ("dell'acquedotto", "acquedotto"),
        ("학교에서", "학교"),
        ("उत्पाद", "उत्पादों"),
        ("உற்பத்தி", "உற்பத்தி"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("ＡＤＲＥＳＳＥ", "Adresse"),
    ],
)
def test_forms_of_a_word_are_the_same_content(one: str, other: str) -> None:
    assert set(content_words(one)) >= set(content_words(other)) != set()


def test_content_words_repeat_and_all_words_include_function_words() -> None:
    assert content_words("The pump, the pumps!") == ["pump", "pump"]
    assert all_words("Yes, THE pump") == {"yes", "the", "pump"}
    assert content_words("yes") == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("48,500 or 48.500 or 48'500 or 48’500", {"48500"}),
        ("48\u00a0500 or 48\u202f500 or ４８，５００", {"48500"}),
        ("3.5 or 3,5", {"3.5"}),
        ("1.234.567,89", {"1234567.89"}),
        ("09:30 or 9.30", {"9.30"}),
        ("0.5 or 007", {"0.5", "7"}),
        ("on 3.5.", {"3.5"}),
        ("plot R21 of SPEAKER_12", {"21"}),
    ],
)
def test_a_number_is_one_however_it_is_written(text: str, numbers: set[str]) -> None:
    assert numbers_of(text) == content_of(text).numbers == numbers


@given(st.text(max_size=80))
def test_any_text_has_content(text: str) -> None:
    found = content_of(text)
    assert found.names <= found.words
    assert word_count(text) >= 0


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=40))
def test_any_texts_have_scores(texts: list[str], question: str) -> None:
    vectors = vectors_of([at % 5 for at in range(len(texts))])
    scores = [score(each) for each in features_of(question, texts, vectors, vectors_of([2])[0])]
    assert all(0 <= each <= 1 for each in scores)
    assert len(scores) == len(texts)


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("Zwei von fifteen, le Premier", {2, 15, 1}),
        ("forty-two", {40, 2}),
        ("fünfundzwanzig", set[int]()),
        ("十二个人,三百二十元,一百零五", {12, 320, 105}),
        ("二零二五年花了两万三千", {2025, 23_000}),
        ("十 and 万", {10, 10_000}),
        ("", set[int]()),
    ],
)
def test_numbers_in_words_are_those_that_are_surely_said(said: str, numbers: set[int]) -> None:
    assert spoken_numbers(said) == numbers
