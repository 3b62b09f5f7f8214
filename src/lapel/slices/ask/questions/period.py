"""Days of a calendar as the asker counts them: from one until before another."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from datetime import tzinfo

Unit: TypeAlias = Literal["day", "week", "month", "year"]

_FIRST_YEAR, _LAST_YEAR = 1970, 9000


class Period(msgspec.Struct, frozen=True):
    """The days from `first` until before `end`. None: no limit on that side."""

    first: date | None = None
    end: date | None = None

    def met(self, other: Period) -> Period:
        """The days that are in both."""
        firsts = [each.first for each in (self, other) if each.first is not None]
        ends = [each.end for each in (self, other) if each.end is not None]
        return Period(max(firsts, default=None), min(ends, default=None))


def moment(day: date | None, zone: tzinfo) -> datetime | None:
    """The first moment of a day in a zone."""
    return None if day is None else datetime.combine(day, time(), tzinfo=zone)


def day(first: date) -> Period:
    """One day."""
    return Period(first, first + timedelta(days=1))


def of_unit(unit: Unit, today: date, back: int) -> Period:
    """The day, week (from Monday), month or year that is so many of them before that of `today`."""
    first = first_day(unit, today, back)
    return Period(first, first_day(unit, today, back - 1))


def first_day(unit: Unit, today: date, back: int) -> date:
    """The first day of it."""
    if unit == "day":
        return today - timedelta(days=back)
    if unit == "week":
        return today - timedelta(days=today.weekday() + 7 * back)
    if unit == "month":
        months = today.year * 12 + today.month - 1 - back
        return date(months // 12, months % 12 + 1, 1)
    return date(today.year - back, 1, 1)


def same_day_before(unit: Unit, today: date, back: int) -> date:
    """The day that is so many units before `today`; the last one of a month that is too short."""
    if unit in ("day", "week"):
        return today - timedelta(days=back * (7 if unit == "week" else 1))
    months = today.year * 12 + today.month - 1 - back * (12 if unit == "year" else 1)
    following = date((months + 1) // 12, (months + 1) % 12 + 1, 1)
    return min(date(months // 12, months % 12 + 1, 1) + timedelta(today.day - 1), following - timedelta(1))


def last_weekday(weekday: int, today: date) -> date:
    """The most recent day of this name (Monday is 0) before `today`."""
    return today - timedelta(days=(today.weekday() - weekday - 1) % 7 + 1)


def weekend(today: date) -> Period:
    """The most recent Saturday before `today`, and the Sunday after it."""
    saturday = last_weekday(5, today)
    return Period(saturday, saturday + timedelta(days=2))


def of_month(month: int, year: int | None, today: date) -> Period | None:
    """A month; without a year, the running or the most recent one. None if there is no such month."""
    named = year if year is not None else today.year - (month > today.month)
    if not 1 <= month <= 12 or not _FIRST_YEAR <= named <= _LAST_YEAR:
        return None
    return of_unit("month", date(named, month, 1), 0)


def of_year(year: int) -> Period | None:
    """A year. None if it is none of a recording."""
    return Period(date(year, 1, 1), date(year + 1, 1, 1)) if _FIRST_YEAR <= year <= _LAST_YEAR else None


def of_date(number: int, month: int, year: int | None, today: date) -> Period | None:
    """A day of a month; without a year, the most recent one that is not after `today`. None if there is no
    such day."""
    years = [year] if year is not None else [today.year, today.year - 1, today.year - 2, today.year - 3]
    for each in years:
        try:
            found = date(each, month, number)
        except ValueError:
            continue
        if _FIRST_YEAR <= each <= _LAST_YEAR and (year is not None or found <= today):
            return day(found)
    return None
