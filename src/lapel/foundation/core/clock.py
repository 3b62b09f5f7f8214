"""Clocks that are passed as arguments, and the text form of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE_SECONDS = len("2026-01-15T12:00:00Z")


class Clock(Protocol):
    """The source of the present time. Tests pass a clock that they move themselves."""

    def now(self) -> datetime:
        """The present, UTC, timezone-aware."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present, UTC, timezone-aware."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved; for tests and simulations."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The moment to which the clock was last moved."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move forward (or back, with a negative step)."""
        self._now += by


def timestamp(moment: datetime) -> str:
    """`2026-01-15T12:00:00.000Z`: UTC with milliseconds, the form of every answer."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    # It has six digits of a second, or none; `isoformat` takes five times as long.
    text: str = msgspec.to_builtins(moment)
    return f"{text[:23]}Z" if len(text) > _WHOLE_SECONDS else f"{text[:19]}.000Z"


def timestamp_or_none(moment: datetime | None) -> str | None:
    """`timestamp`, or None for None."""
    return None if moment is None else timestamp(moment)
