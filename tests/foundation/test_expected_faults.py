"""Errors that say that the database or the store is away are one line a minute, without a traceback."""

from __future__ import annotations

import io
import logging

import asyncpg
import pytest
import structlog

from lapel.foundation import outages, telemetry
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import StatementTimedOut
from lapel.foundation.outages import Outages
from lapel.foundation.queue import expected_faults
from lapel.foundation.queue.expected_faults import part_away, tell_fault
from lapel.foundation.storage.errors import StoreUnavailable
from tests.foundation.test_outages import Hand, logged
from tests.foundation.test_outages import lines as lines  # noqa: PLC0414 - a fixture

LOST = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Hand:
    """Counts of this test's own, whose time stands."""
    clock = Hand()
    for name in ("OUTAGES", "STORE_OUTAGES"):
        fresh = Outages(clock)
        monkeypatch.setattr(outages, name, fresh)
        monkeypatch.setattr(expected_faults, name, fresh)
        monkeypatch.setattr(telemetry, name, fresh, raising=False)
    return clock


def throw(error: Exception) -> None:
    raise error


def fail(log: structlog.stdlib.BoundLogger | logging.Logger, error: Exception) -> None:
    """As a loop does that goes on, and as PgQueuer does."""
    try:
        throw(error)
    except Exception as fault:
        if isinstance(log, logging.Logger):
            log.error("Failed to send heartbeat: %s", error, exc_info=fault)  # noqa: TRY400
        else:
            log.error("erasure.stuck", entry="era_1", exc_info=fault)  # noqa: TRY400


def test_tracebacks_of_outages_are_one_line_a_minute_and_part(lines: io.StringIO, clock: Hand) -> None:
    ours, theirs = structlog.get_logger("lapel.test"), logging.getLogger("pgqueuer")
    for _ in range(100):
        fail(ours, Unavailable("The database does not answer."))
        fail(theirs, LOST)
        fail(ours, StoreUnavailable("it is away"))
        fail(ours, ExceptionGroup("tasks", [Unavailable("x"), Unavailable("y")]))
    assert [(each["event"], each["unlogged"]) for each in logged(lines)] == [("erasure.stuck", 0)] * 2
    assert all("exception" not in each and each["entry"] == "era_1" for each in logged(lines))
    clock.now += 61
    fail(theirs, LOST)
    last = logged(lines)[-1]
    assert last["event"] == f"Failed to send heartbeat: {LOST}: {LOST!r}"
    assert "Traceback" not in lines.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        FileNotFoundError("x"),
        LOST,
        StatementTimedOut("x"),
        ExceptionGroup("", [ValueError()]),
    ],
)
def test_other_errors_keep_their_tracebacks(lines: io.StringIO, error: Exception) -> None:
    """Of our own code, a broken connection is one to anything."""
    for _ in range(3):
        fail(structlog.get_logger("lapel.test"), error)
    assert ["Traceback" in str(each["exception"]) for each in logged(lines)] == [True] * 3


def test_what_a_lost_session_could_not_write_is_one_line_too(lines: io.StringIO) -> None:
    for items in range(5):
        logging.getLogger("pgqueuer").warning("Shutdown flush failed, %d items remaining", items)
    assert [each["event"] for each in logged(lines)] == ["Shutdown flush failed, 0 items remaining"]


def test_at_level_debug_everything_is_logged(lines: io.StringIO) -> None:
    logging.getLogger("lapel").setLevel(logging.DEBUG)
    for _ in range(3):
        fail(structlog.get_logger("lapel.test"), Unavailable("x"))
    assert ["exception" in each for each in logged(lines)] == [True] * 3


def test_jobs_that_an_outage_stops_are_one_line_and_others_one_each(lines: io.StringIO) -> None:
    log = structlog.get_logger("lapel.test")
    for number in range(5):
        tell_fault(log, "job.stopped", StoreUnavailable("it is away"), job=number)
        tell_fault(log, "job.stopped", ValueError("x"), job=number)
    assert [each["job"] for each in logged(lines)] == [0, 0, 1, 2, 3, 4]


def test_which_part_is_away() -> None:
    assert part_away(StoreUnavailable("x")) is expected_faults.STORE_OUTAGES
    assert part_away(Unavailable("x")) is expected_faults.OUTAGES
    assert part_away(LOST) is None
    assert part_away(LOST, of_driver=True) is expected_faults.OUTAGES
    assert part_away(ExceptionGroup("", [Unavailable("x"), ValueError()])) is None
