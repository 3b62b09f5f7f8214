"""What a claim must share with what was said: its numbers, and enough of its words.

Answers and summaries check their claims with these rules. They look in different places: a statement of an
answer cites one passage, and an entry of a summary may rest on any turns of the transcript.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lapel.slices.language_models.extractive.content_words import numbers_of
from lapel.slices.language_models.extractive.number_words import numbers_in, numbers_said
from lapel.slices.language_models.extractive.text_language import likely_language

LEAST_WORDS = 2
"""One word supports no claim that has more content words."""

# Words such as "one" and "ein" are no numbers in most texts.
_ANY_NUMBER = {"0", "1"}
_HALF_TO = re.compile(r"\bhalb\b", re.IGNORECASE)

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
    written = _ANY_NUMBER - numbers_of(claim)
    wanted = [
        [number for number in run if number not in written]
        for run in numbers_in(claim, likely_language(claim) or "en")
    ]
    if not any(wanted):
        return True
    texts = [(numbers_said(each), _HALF_TO.search(each) is not None) for each in said]
    there = frozenset[str]().union(*(numbers for numbers, _ in texts))
    return all(
        "".join(run) in there or all(each in there or _in_parts(each, texts) for each in run)
        for run in wanted
    )


def _in_parts(number: str, texts: Sequence[tuple[frozenset[str], bool]]) -> bool:
    """Whether one text has both parts of a number: "three thirty" for 3.30, "half past three" for 15:30, and
    "halb vier" too."""
    whole, _, part = number.partition(".")
    if not part or "." in part:
        return False
    for numbers, half_to in texts:
        hours = {int(whole), int(whole) + 12, int(whole) - 12}
        if half_to:
            hours |= {each + 1 for each in hours}
        if (part == "00" or part in numbers) and not numbers.isdisjoint(map(str, hours)):
            return True
    return False


def has_enough(wanted: frozenset[str], have: frozenset[str], share: float) -> bool:
    """Whether enough of a claim's content words are among others: this share, and `LEAST_WORDS` if the claim
    has so many. False for a claim without content words."""
    shared = len(wanted & have)
    return shared > 0 and shared >= max(min(LEAST_WORDS, len(wanted)), share * len(wanted))
