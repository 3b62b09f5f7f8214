"""Counts and latencies of a simulation, in memory that does not grow with the number of calls."""

from __future__ import annotations

import math
from collections import Counter

_SMALLEST = 0.01  # milliseconds
_STEP = math.log(1.02)
_BUCKETS = 1 + int(math.log(200_000 / _SMALLEST) / _STEP)


class Histogram:
    """Durations in milliseconds, to within 2 %, from 10 microseconds to 200 seconds.

    Each bucket's bound is 2 % above the one before. Shorter durations count in the first bucket, longer ones
    in the last.
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0

    def add(self, ms: float) -> None:
        """Counts one duration."""
        at = int(math.log(max(ms, _SMALLEST) / _SMALLEST) / _STEP)
        self._counts[min(at, _BUCKETS - 1)] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """The duration in ms that a `share` (0 to 1) of all durations does not exceed; None without any."""
        if not self.count:
            return None
        wanted = math.ceil(share * self.count)
        seen = 0
        for at, number in enumerate(self._counts):
            seen += number
            if seen >= wanted:
                return round(_SMALLEST * math.exp((at + 1) * _STEP), 2)
        raise AssertionError("the counts do not add up")


class Meter:
    """All counts and latencies of a simulation.

    counts: events by name. errors: errors by kind. repeats: repeated calls by reason. calls: latency by call.
    total: latency of all calls. late: delay between the time at which a device's action is due and its start.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.repeats: Counter[str] = Counter()
        self.calls: dict[str, Histogram] = {}
        self.total = Histogram()
        self.late = Histogram()

    def took(self, name: str, seconds: float) -> None:
        """Counts the answer of a call that took `seconds`."""
        ms = seconds * 1000
        histogram = self.calls.get(name)
        if histogram is None:
            histogram = self.calls[name] = Histogram()
        histogram.add(ms)
        self.total.add(ms)
