"""The regular expressions of the times that one language knows, each with what it means."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lapel.slices.ask.questions import period
from lapel.slices.ask.questions.period import Period, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date

    from lapel.slices.ask.questions.time_words import TimeWords

    Groups = Mapping[str, str | None]
    Meaning = Callable[[Groups, date], Period | None]

_UNITS: tuple[Unit, ...] = ("day", "week", "month", "year")
_CHINESE_DIGITS = {each: number for number, each in enumerate("一二三四五六七八九", 1)}
_ISO = r"(?P<y>(?:19|20)\d\d)-(?P<mm>\d\d?)-(?P<d>\d\d?)"
_NUMERIC = r"(?P<d>\d{1,2})[./](?P<mm>\d{1,2})[./](?P<y>(?:19|20)\d\d)"
# No recording is older than so many days, weeks or months.
_MOST = 400


class TimePattern(NamedTuple):
    """`meaning`: the days that a match means; None if there are none. `is_over`: it can only mean the past.
    `is_bare`: it means a time only after a word such as *since*."""

    regex: re.Pattern[str]
    meaning: Meaning
    is_over: bool = False
    is_bare: bool = False


@lru_cache(maxsize=8)
def patterns_of(words: TimeWords) -> tuple[TimePattern, ...]:
    """Every kind of expression of a language."""
    month = f"(?:{'|'.join(words.months)})"
    found = [
        *_relative_days(words),
        *_units(words),
        *_weekdays(words),
        _pattern(words, words.weekend, lambda _, today: period.weekend(today)),
        *(_pattern(words, form.replace("{month}", month), _date(words)) for form in words.dates),
        _pattern(words, _ISO, _date(words)),
        _pattern(words, _NUMERIC, _date(words)),
        _pattern(words, words.in_month.replace("{month}", month), _month(words)),
        _pattern(words, f"(?P<m>{month})", _month(words))._replace(is_bare=True),
        _pattern(words, words.in_year, lambda groups, _: period.of_year(int(groups["y"] or 0))),
    ]
    return tuple(found)


def _pattern(words: TimeWords, form: str, meaning: Meaning, *, is_over: bool = False) -> TimePattern:
    bounded = rf"(?<!\w)(?:{form})(?!\w)" if words.spaced else form
    return TimePattern(re.compile(bounded), meaning, is_over)


def _relative_days(words: TimeWords) -> Iterator[TimePattern]:
    """Today, yesterday, the day before yesterday."""
    for back, form in words.days.items():
        yield _pattern(words, form, _day_before(back), is_over=back > 0)


def _day_before(back: int) -> Meaning:
    def meaning(_: Groups, today: date) -> Period:
        first = period.first_day("day", today, back)
        return Period(first) if back == 0 else period.day(first)

    return meaning


def _units(words: TimeWords) -> Iterator[TimePattern]:
    """This week, last week, the week before last, the last two weeks, two weeks ago."""
    units = {name: f"(?P<{name}>{forms})" for name, forms in words.units.items()}
    longer = f"(?:{units['week']}|{units['month']}|{units['year']})"
    space = " " if words.spaced else ""

    def whole(back: int) -> Meaning:
        return lambda groups, today: period.of_unit(_unit(groups), today, back)

    yield _pattern(
        words,
        f"(?:{words.this}){space}{longer}",
        lambda groups, today: Period(period.first_day(_unit(groups), today, 0)),
    )
    yield _pattern(words, f"(?:{words.last}){space}{longer}", whole(1), is_over=True)
    behind = f"(?:(?:el|la|le) |l')?{longer} (?:{words.after_unit})"
    yield _pattern(words, behind, whole(1), is_over=True)
    yield _pattern(words, words.before_last.replace("{unit}", longer), whole(2), is_over=True)
    number = f"(?P<n>\\d{{1,3}}|{'|'.join(reversed(words.numbers))})"
    any_unit = f"(?:{'|'.join(units.values())})"
    for forms, is_one in ((words.last_few, False), (words.ago, True)):
        for form in forms:
            filled = form.replace("{n}", number).replace("{unit}", any_unit)
            yield _pattern(words, filled, _number_of_units(words, is_one=is_one), is_over=True)


def _number_of_units(words: TimeWords, *, is_one: bool) -> Meaning:
    """`is_one`: the one that is so many before this one; otherwise all of them until now."""

    def meaning(groups: Groups, today: date) -> Period | None:
        count = _number(groups["n"] or "", words)
        if count is None or count > _MOST:
            return None
        unit = _unit(groups)
        if is_one:
            return period.of_unit(unit, today, count)
        return Period(period.same_day_before(unit, today, count))

    return meaning


def _weekdays(words: TimeWords) -> Iterator[TimePattern]:
    lead = f"(?:(?:{words.on_weekday}) )*" if words.spaced else f"(?:{words.on_weekday})?"
    tail = f"(?: (?:{words.after_unit}))?" if words.spaced else ""
    for at, form in enumerate(words.weekdays):
        yield _pattern(words, f"{lead}(?:{form}){tail}", _last(at))
        if words.of_last_week is not None:
            yield _pattern(words, f"(?:{words.of_last_week})(?:{form})", _of_last_week(at), is_over=True)


def _last(weekday: int) -> Meaning:
    return lambda _, today: period.day(period.last_weekday(weekday, today))


def _of_last_week(weekday: int) -> Meaning:
    return lambda _, today: period.day(
        period.same_day_before("day", period.first_day("week", today, 1), -weekday)
    )


def _date(words: TimeWords) -> Meaning:
    def meaning(groups: Groups, today: date) -> Period | None:
        month = int(groups["mm"] or 0) if "mm" in groups else _month_number(groups["m"], words)
        year = int(groups["y"]) if groups["y"] else None
        found = period.of_date(_day_number(groups["d"] or ""), month, year, today)
        until = groups.get("d2")
        if found is None or until is None:
            return found
        last = period.of_date(_day_number(until), month, year, today)
        return None if last is None else Period(found.first, last.end)

    return meaning


def _month(words: TimeWords) -> Meaning:
    def meaning(groups: Groups, today: date) -> Period | None:
        year = groups.get("y") or groups.get("y2")
        number = _month_number(groups["m"] or groups.get("m2"), words)
        return period.of_month(number, int(year) if year else None, today)

    return meaning


def _unit(groups: Groups) -> Unit:
    return next(each for each in _UNITS if groups.get(each) is not None)


def _number(said: str, words: TimeWords) -> int | None:
    if said.isdigit():
        return int(said)
    found = (at for at, form in enumerate(words.numbers, 1) if re.fullmatch(form, said))
    return next(found, None)


def _month_number(said: str | None, words: TimeWords) -> int:
    return next(at for at, form in enumerate(words.months, 1) if re.fullmatch(form, said or ""))


def _day_number(said: str) -> int:
    digits = re.match(r"\d+", said)
    if digits is not None:
        return int(digits[0])
    if not set(said) <= {*_CHINESE_DIGITS, "十"}:
        return 1  # "premier", "primero"
    if "十" not in said:
        return _CHINESE_DIGITS[said[-1]]
    tens, _, ones = said.rpartition("十")
    return 10 * _CHINESE_DIGITS.get(tens[-1:], 1) + _CHINESE_DIGITS.get(ones, 0)
