"""When a delivery is attempted again.

Sources: the contract, section 16; RFC 9110, section 10.2.3 (`Retry-After`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MINUTE, _HOUR = 60.0, 3600.0
# The wait before the second, third … eighth attempt, in seconds.
WAITS = (_MINUTE, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 8 * _HOUR, 10 * _HOUR, 10 * _HOUR)
_JITTER = 0.1
_LONGEST_ASKED = 24 * _HOUR


def wait_after(tries: int, asked: float | None, chance: Callable[[], float]) -> float | None:
    """Seconds until the next attempt, after `tries` failed ones; None after the last.

    The wait is that of the schedule and up to a tenth more (`chance`: a random number from 0 to 1), or
    `asked` seconds if that is longer.
    """
    if tries > len(WAITS):
        return None
    wait = WAITS[tries - 1] * (1 + _JITTER * chance())
    return wait if asked is None else max(wait, asked)


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that an answer's `Retry-After` asks to wait, 24 hours at most; None without a valid one.

    A date is compared with the answer's own `Date`, because the receiver's clock may differ from `now`.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        # So many digits are more than a day; int() would refuse thousands of them.
        return _LONGEST_ASKED if len(value) > 9 else min(float(value), _LONGEST_ASKED)
    moment = _http_date(value)
    if moment is None:
        return None
    there = _http_date(headers.get("Date", "")) or now
    return min(max((moment - there).total_seconds(), 0.0), _LONGEST_ASKED)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
