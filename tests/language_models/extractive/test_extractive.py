"""The content words and the numbers of texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.language_models.extractive.content_words import (
    all_words,
    content_of,
    content_words,
    numbers_of,
    word_count,
)


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
