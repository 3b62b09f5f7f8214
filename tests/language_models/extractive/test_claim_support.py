"""What a claim must share with what was said."""

from __future__ import annotations

import pytest

from lapel.slices.language_models.extractive.claim_support import (
    has_enough,
    mixed_words_were_said,
    numbers_were_said,
)


@pytest.mark.parametrize(
    ("claim", "said", "supported"),
    [
        ("She takes 42 mg.", ["She takes forty-two milligrams."], True),
        ("She takes forty mg.", ["She takes 40 mg."], True),
        ("She takes fifteen mg.", ["She takes 50 mg."], False),
        ("She takes 42 mg.", ["Forty people came.", "Two were late."], False),
        ("She takes 42 mg.", ["It was 42.", "Of what?"], True),
        ("It costs 320.", ["一共三百二十元"], True),
        ("Potassium is 5.1.", ["five point one"], True),
        ("One of them takes it once a day.", ["They take it daily."], True),
        ("No number at all.", [], True),
        ("40'000 francs", ["40.000 Franken"], True),
    ],
)
def test_numbers_of_a_claim_must_have_been_said(claim: str, said: list[str], supported: bool) -> None:
    assert numbers_were_said(claim, said) is supported


@pytest.mark.parametrize(
    ("wanted", "have", "enough"),
    [
        ("a", "a", True),
        ("ab", "a", False),
        ("ab", "ab", True),
        ("abcde", "ab", True),
        ("abcdef", "ab", False),
        ("", "a", False),
    ],
)
def test_one_word_of_several_is_not_enough(wanted: str, have: str, enough: bool) -> None:
    assert has_enough(frozenset(wanted), frozenset(have), 0.4) is enough


@pytest.mark.parametrize(
    ("claim", "said", "supported"),
    [
        ("He lives with P\u0430ul.", "He lives with Paul.", False),
        ("He lives with P\u0430ul.", "They wrote: P\u0430ul.", True),
        ("He lives with \u039daomi.", "He lives with Naomi.", False),
        ("He lives with Paul.", "He lives with P\u0430ul.", True),
        ("Он живёт с Paul.", "Он живёт.", True),
        ("5 µg of TNFα at 3 kΩ", "five micrograms", True),
    ],
)
def test_a_word_of_mixed_scripts_must_have_been_said(claim: str, said: str, supported: bool) -> None:
    assert mixed_words_were_said(claim, said) is supported
