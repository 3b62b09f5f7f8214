"""What a claim must share with what was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.language_models.extractive.claim_support import (
    has_enough,
    mixed_words_were_said,
    numbers_were_said,
)
from lapel.slices.language_models.extractive.content_words import numbers_of
from lapel.slices.language_models.extractive.number_words import numbers_said


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
        ("Twenty-seven came.", ["There were 27."], True),
        ("Twenty-seven came.", ["There were 20, and 7 left."], False),
        ("She takes 42 mg.", ["She takes forty, and two more at night."], False),
        ("25 people", ["fünfundzwanzig Leute"], True),
        ("Der Vertrag läuft achtundzwanzig Monate.", ["El contrato dura veintiocho meses."], True),
        ("Le lot coûte quatre-vingt-dix euros.", ["The lot is ninety."], True),
        ("It costs ninety.", ["C'est quatre-vingt-dix."], True),
        ("It costs eighty.", ["C'est quatre-vingt-dix."], False),
        ("1500 people were there.", ["fifteen hundred"], True),
        ("It costs 57,000.", ["Fifty-seven thousand, I think."], True),
        ("It costs 57k.", ["57.000 Euro"], True),
        ("It costs 2.5 million.", ["zwei Komma fünf Millionen"], True),
        ("The vote is on the 24th.", ["It was moved to the twenty-fourth."], True),
        ("表决推迟到二十四日。", ["We postpone the vote to the twenty-fourth."], True),
        ("表决推迟到二十三日。", ["We postpone the vote to the twenty-fourth."], False),
        ("五月十八日开始。", ["It starts on the eighteenth of May."], True),
        ("Thirty percent is paid first.", ["先付三成。"], True),
        ("血钾是五点一。", ["Potassium is 5.1."], True),
        ("这一次他们一共来了,十分满意。", ["They came and liked it."], True),
        ("一共46万", ["four hundred and sixty thousand"], True),
        ("Ein Fünftel, also zwanzig Prozent.", ["El veinte por ciento."], True),
        ("El veinte por ciento.", ["It is 20 %."], True),
        ("It began in 1998.", ["It began in nineteen ninety-eight."], True),
        ("It began in nineteen ninety-eight.", ["It began in 1998."], True),
        ("At 15:30.", ["At half past three."], True),
        ("At 3:30 pm.", ["Um halb vier."], True),
        ("At 3:45 pm.", ["Um halb vier."], False),
        ("At 16:00.", ["At four."], True),
        ("Two of them left.", ["Both left."], True),
        ("R21 fails.", ["R21 is broken."], True),
    ],
)
def test_numbers_of_a_claim_must_have_been_said(claim: str, said: list[str], supported: bool) -> None:
    assert numbers_were_said(claim, said) is supported


@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("一十百千万亿点成月 0123456789.,-"))
)
def test_any_text_says_its_own_digits(text: str) -> None:
    assert numbers_of(text) <= numbers_said(text)


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
