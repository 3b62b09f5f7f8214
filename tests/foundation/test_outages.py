"""One line a minute tells of a database that is away."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import asyncpg
import pytest
import structlog

from lapel.foundation import telemetry
from lapel.foundation.answer_times import AllAnswerTimes
from lapel.foundation.core.actors import ANONYMOUS
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.outages import OUTAGES, Outages
from lapel.foundation.queue.queue_worker import _is_outage


class Hand:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("lapel")
    before = root.handlers, root.level, ours.level
    stream = io.StringIO()
    telemetry.configure("info", "json", "test", stream)
    yield stream
    root.handlers, root.level = before[:2]
    ours.setLevel(before[2])
    structlog.reset_defaults()


def logged(lines: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_a_minute_of_failures_is_one_line(lines: io.StringIO) -> None:
    clock = Hand()
    outages, log = Outages(clock), structlog.get_logger("lapel.test")
    for _ in range(200):
        outages.tell(log, "database.away", OSError("refused"))
        outages.tell(log, "database.listen_lost", OSError("refused"), channel="revoked")
        clock.now += 0.2
    (first,) = logged(lines)
    assert (first["event"], first["level"], first["unlogged"]) == ("database.away", "warning", 0)
    assert "exception" not in first
    clock.now += 60
    outages.tell(log, "worker.session_lost", OSError("refused"))
    (_, second) = logged(lines)
    assert (second["event"], second["unlogged"]) == ("worker.session_lost", 399)


def test_an_outage_is_recent_for_some_seconds() -> None:
    clock = Hand()
    outages, log = Outages(clock), structlog.get_logger("lapel.test")
    assert not outages.is_recent()
    outages.tell(log, "database.away", OSError("refused"))
    clock.now += 10
    assert outages.is_recent()
    clock.now += 60
    assert not outages.is_recent()


def test_503_is_no_warning_each_while_the_database_is_away(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OUTAGES, "_noticed", None)
    monkeypatch.setattr(OUTAGES, "_told", None)
    monkeypatch.setattr(telemetry, "ANSWERS", AllAnswerTimes())
    for _ in range(3):
        telemetry.observe_request(None, "GET", 503, 0.1, ANONYMOUS, None)
    assert len(logged(lines)) == 3
    OUTAGES.tell(structlog.get_logger("lapel.test"), "database.away", OSError("refused"))
    before = len(logged(lines))
    for _ in range(50):
        telemetry.observe_request(None, "GET", 503, 0.1, ANONYMOUS, None)
    telemetry.flush_log()
    assert [each["level"] for each in logged(lines)[before:]] == ["info"] * 50
    before = len(logged(lines))
    telemetry.observe_request(None, "GET", 500, 0.1, ANONYMOUS, None)
    assert len(logged(lines)) == before + 1


def test_a_group_of_errors_of_a_database_that_is_away_is_an_outage() -> None:
    away = [asyncpg.AdminShutdownError("ends"), Unavailable("away"), ConnectionResetError()]
    assert _is_outage(ExceptionGroup("tasks", [ExceptionGroup("more", away[:2]), away[2]]))
    assert not _is_outage(ExceptionGroup("tasks", [*away, ValueError("a defect")]))
