"""The expressions of time in a text, with the days that they mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.ask.questions import period
from lapel.slices.ask.questions.period import Period
from lapel.slices.ask.questions.time_patterns import patterns_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from lapel.slices.ask.questions.time_words import TimeWords

# An article between a word such as *since* and a time.
_ARTICLE = " (?:the |dem |der |den |el |la |le |l')?"


class Expression(msgspec.Struct, frozen=True):
    """An expression in a text, from `start` to `end`. `is_over`, `is_bare`: see TimePattern."""

    start: int
    end: int
    period: Period
    is_over: bool
    is_bare: bool = False


def expressions_in(text: str, words: TimeWords, today: date) -> list[Expression]:
    """The expressions in a folded text, in order; the longest where several overlap. Two times with
    *between*, and one with *since*, *before* or *after*, are one expression."""
    found: list[Expression] = []
    for each in sorted(_all(text, words, today), key=lambda one: (one.start - one.end, one.start)):
        if not any(each.start < other.end and other.start < each.end for other in found):
            found.append(each)
    ordered = sorted(found, key=lambda one: one.start)
    bounded = [
        _from_one_to_another(text, words, today, each) or _on_one_side(text, words, each) for each in ordered
    ]
    return [each for each in bounded if not each.is_bare]


def _all(text: str, words: TimeWords, today: date) -> Iterator[Expression]:
    for pattern in patterns_of(words):
        for met in pattern.regex.finditer(text):
            meant = pattern.meaning(met.groupdict(), today)
            if meant is not None:
                yield Expression(met.start(), met.end(), meant, pattern.is_over, pattern.is_bare)


def _from_one_to_another(text: str, words: TimeWords, today: date, second: Expression) -> Expression | None:
    """Both times if another one leads up to this one; None otherwise."""
    before, end = text[: second.start], second.period.end
    begins, goes_on = words.between
    if words.spaced:
        one = rf"(?:^|\W)(?:{begins}){_ARTICLE}(?P<first>[\w.]{{1,14}})"
        form = rf"{one}(?:{_ARTICLE}| ?)(?:{goes_on}){_ARTICLE}$"
    else:
        form = rf"(?P<first>\w{{2,9}})(?:{goes_on})$"
    led = re.search(form, before)
    first = None if led is None else _first_day(led["first"], words, today, second.period)
    if led is None or first is None or end is None or first >= end:
        return None
    return Expression(led.start("first"), second.end, Period(first, end), second.is_over)


def _first_day(said: str, words: TimeWords, today: date, second: Period) -> date | None:
    """The first day of the earlier time of two. A number alone is a day of the other's month."""
    number = re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th|er|\.)?", said)
    if number is not None and second.first is not None:
        meant = period.of_date(int(number[1]), second.first.month, second.first.year, today)
        return None if meant is None else meant.first
    for pattern in patterns_of(words):
        met = pattern.regex.search(said)
        meant = None if met is None or met.end() < len(said) else pattern.meaning(met.groupdict(), today)
        if meant is not None:
            return meant.first
    return None


def _on_one_side(text: str, words: TimeWords, found: Expression) -> Expression:
    """The expression with a word such as *since* before or behind it, or as it is."""
    before, behind = text[: found.start], text[found.end :]
    first, end = found.period.first, found.period.end
    for lead, follow, limited in (
        (words.since, words.since_behind, Period(first, None)),
        (words.before, words.before_behind, Period(None, first)),
        (words.after, words.after_behind, Period(end, None)),
    ):
        led = re.search(rf"(?:^|\W)(?:{lead}){_ARTICLE}$" if words.spaced else rf"(?:{lead})$", before)
        followed = re.match(follow, behind)
        if led is not None or followed is not None:
            start = found.start if led is None else led.start()
            behind_end = found.end if followed is None else found.end + followed.end()
            return Expression(start, behind_end, limited, found.is_over)
    return found
