"""What a claim must share with what was said: its numbers, and enough of its words.

Answers and summaries check their claims with these rules. They look in different places: a statement of an
answer cites one passage, and an entry of a summary may rest on any turns of the transcript.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lapel.foundation.written_text import normalized
from lapel.slices.language_models.extractive.content_words import numbers_of
from lapel.slices.language_models.extractive.number_words import (
    may_have_been_said,
    said_values,
    spoken_numbers,
)

LEAST_WORDS = 2
"""One word supports no claim that has more content words."""

# Words such as "one" and "ein" are no numbers in most texts.
_ANY_NUMBER = {0, 1}
# Eleven in Spanish, but no number in English.
_ONCE = re.compile(r"\bonce\b", re.IGNORECASE)

# Letters that look like Latin ones; units and genes have others, such as those of kΩ and TNFα.
_MIXED = re.compile(r"\b(?=\w*[A-Za-z\u00c0-\u024f])\w*[\u0400-\u052fΑΒΕΖΗΙΚΝΟΡΤΥΧικνορτυχ]\w*\b")


def mixed_words_were_said(claim: str, said: str) -> bool:
    """Whether each word of a claim that mixes Latin letters with letters that look like them was said with
    the same letters. A reader takes such a word for another one."""
    return _mixed_words(claim) <= _mixed_words(said)


def _mixed_words(text: str) -> frozenset[str]:
    if text.isascii():
        return frozenset()
    return frozenset(each.casefold() for each in _MIXED.findall(unicodedata.normalize("NFKC", text)))


def numbers_were_said(claim: str, said: Sequence[str]) -> bool:
    """Whether each number of a claim was said, in digits or in words.

    `said`: sentences or turns. The words of one number, such as "three hundred and twenty", are in one of
    them.
    """
    digits, in_words = numbers_of(claim), said_values(_ONCE.sub(" ", claim)) - _ANY_NUMBER
    if not digits and not in_words:
        return True
    there = frozenset[str]().union(*map(numbers_of, said))
    there |= {str(number) for each in said for number in spoken_numbers(normalized(each))}
    values = [said_values(each) for each in said]
    return all(each in there or _in_words(each, values) for each in digits) and all(
        str(each) in there or any(each in some for some in values) for each in in_words
    )


def _in_words(number: str, values: Sequence[frozenset[int]]) -> bool:
    """Whether one text has the words for a number: also "five point one", and "three thirty" for 3.30."""
    return any(all(may_have_been_said(part, some) for part in number.split(".")) for some in values)


def has_enough(wanted: frozenset[str], have: frozenset[str], share: float) -> bool:
    """Whether enough of a claim's content words are among others: this share, and `LEAST_WORDS` if the claim
    has so many. False for a claim without content words."""
    shared = len(wanted & have)
    return shared > 0 and shared >= max(min(LEAST_WORDS, len(wanted)), share * len(wanted))
