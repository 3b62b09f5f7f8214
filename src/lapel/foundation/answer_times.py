"""How long answers took, as a Prometheus histogram by operation and status.

A histogram that processes share is a file in memory. To write two of its values for each answer would cost
more than finding the route. So the answers of a quarter of a second are counted in plain lists, and then
written together. A process that is killed loses those that are not written yet.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import Protocol, cast

from prometheus_client import Histogram

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_REQUESTS = Histogram(
    "lapel_http_request_seconds",
    "Time from the end of a request's head to its answer, by operation and status.",
    ("operation", "status"),
    buckets=_BOUNDS,
)
_EVERY = 0.25  # seconds


class _Value(Protocol):
    """A value of the histogram, in memory that processes share."""

    def inc(self, amount: float) -> None: ...


class AnswerTimes:
    """The times of one operation's answers with one status."""

    __slots__ = ("_buckets", "_counts", "_seconds", "_sum", "logged", "seen")

    def __init__(self, operation: str, status: int) -> None:
        histogram = _REQUESTS.labels(operation, status)
        # `observe` takes one value at a time, and no public method takes several.
        self._sum = cast("_Value", histogram._sum)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._buckets = cast("list[_Value]", histogram._buckets)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0
        self.seen = 0
        self.logged = float("-inf")
        """When one was logged last: monotonic seconds."""

    def add(self, seconds: float) -> None:
        """Count an answer that took so long."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds
        self.seen += 1

    def write(self) -> None:
        """Write what was counted into the histogram."""
        counts, self._counts = self._counts, [0] * len(self._counts)
        seconds, self._seconds = self._seconds, 0.0
        self._sum.inc(seconds)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class AllAnswerTimes:
    """The times of all answers of this process."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, int], AnswerTimes] = {}
        self._unwritten: set[AnswerTimes] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # that calls `write` soon

    def add(self, operation: str, status: int, seconds: float) -> AnswerTimes:
        """Count an answer; returns the times of its operation and status."""
        found = self._by_name.get((operation, status))
        if found is None:
            found = self._by_name[operation, status] = AnswerTimes(operation, status)
        found.add(seconds)
        if found not in self._unwritten or (self._loop is not None and self._loop.is_closed()):
            self._write_soon(found)
        return found

    def write(self) -> None:
        """Write all that were counted. Called when an event loop ends, and before they are shown."""
        unwritten, self._unwritten = self._unwritten, set()
        for each in unwritten:
            each.write()

    def _write_soon(self, times: AnswerTimes) -> None:
        self._unwritten.add(times)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nothing would call `write` later
            self.write()
            return
        if len(self._unwritten) == 1 or loop is not self._loop:
            self._loop = loop
            loop.call_later(_EVERY, self.write)
