"""The log lines of answers: collected as they are made, and written a moment later by a thread.

An ordinary line takes longer to make than the answer of the most frequent calls. So an answer only adds a
struct to a line of waiting ones, and a thread writes all that wait, 20 times a second. If the stream takes
nothing, for example a full pipe, answers go on: what does not fit is dropped and counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec
from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Lines that wait, in one process: more than it answers in a second.
_MOST_WAITING = 20_000
_PAUSE_SECONDS = 0.05

_DROPPED = Counter(
    "lapel_request_lines_dropped", "Log lines of answers that were not written, because the log took no more."
)


class RequestLine(msgspec.Struct, frozen=True):
    """One answer. `at`: seconds since 1970. `ms`: the time that it took. `client`: the trace, its parent
    and the request id that the client sent."""

    at: float
    operation: str
    method: str
    status: int
    ms: float
    caller: str
    caller_id: str | None
    request_id: str | None
    error: str | None = None
    level: Literal["info", "debug"] = "info"
    client: tuple[str | None, str | None, str | None] = (None, None, None)


class RequestLines:
    """The waiting lines of one process. One thread adds them; any may write them."""

    def __init__(self, write: Callable[[list[RequestLine]], None]) -> None:
        """`write` writes lines to the log, and may block."""
        self._write = write
        self._waiting: deque[RequestLine] = deque()
        self._some = threading.Event()
        self._writing = threading.Lock()
        self._process = 0

    def add(self, line: RequestLine) -> None:
        """Have a line written soon. Never blocks."""
        if len(self._waiting) >= _MOST_WAITING:
            _DROPPED.inc()
            return
        self._waiting.append(line)
        if self._process != os.getpid():  # a fork has no thread of its parent
            self._process = os.getpid()
            self._writing = threading.Lock()
            threading.Thread(target=self._run, name="request-lines", daemon=True).start()
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Write all lines that wait now."""
        with self._writing:
            lines: list[RequestLine] = []
            while self._waiting:
                lines.append(self._waiting.popleft())
            try:
                if lines:
                    self._write(lines)
            except Exception:  # noqa: BLE001 - whatever keeps these lines from being written, the next ones go on
                _DROPPED.inc(len(lines))

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_PAUSE_SECONDS)
            self._some.clear()
            self.flush()


class WrittenLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line with the fields of all other lines of the log."""

    operation: str
    method: str
    status: int
    ms: float
    caller: str
    caller_id: str | None
    event: str
    level: str
    logger: str
    timestamp: str
    process: str
    request_id: str | None
    error: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    client_request_id: str | None = None


def format_line(line: RequestLine, process: str, logger: str) -> WrittenLine:
    """The line with what is the same for all lines of a process."""
    second = int(line.at)
    return WrittenLine(
        line.operation,
        line.method,
        line.status,
        line.ms,
        line.caller,
        line.caller_id,
        "request",
        line.level,
        logger,
        f"{_second(second)}.{int((line.at - second) * 1_000_000):06d}Z",
        process,
        line.request_id,
        line.error,
        *line.client,
    )


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}"


def json_lines(lines: Iterable[WrittenLine]) -> str:
    """The lines as JSON, each with a newline at its end."""
    return msgspec.json.Encoder().encode_lines(lines).decode()
