"""The log lines of answers. The thread that writes them makes their text (log_writer.py)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable


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
