"""A log whose reader has stopped: no event loop waits, memory is bounded, what is missing is told."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from lapel.foundation import telemetry
from lapel.foundation.core.actors import ANONYMOUS
from lapel.foundation.log_writer import Line, LogWriter, write_to_pipe
from tests.support.log_lines import logged_lines
from tests.support.patience import LONG

BEGINNING = f"""
import asyncio, logging, os, sys
import structlog
from lapel.foundation import telemetry
from lapel.foundation.core.actors import ANONYMOUS
telemetry.configure("info", "json", "api", waits=False)
log = structlog.get_logger("lapel.x")

def flush():
    logging.getLogger().handlers[0].writer.flush({LONG})

def wait_for_reader():
    print("here", flush=True)
    sys.stdin.readline()
"""

LOOP = """
async def main():
    for number in range({count}):
        log.info("x", number=number, rest="y" * {length})
        if number == 5:
            telemetry.observe_request(None, "GET", 404, 0.001, ANONYMOUS, None)
        await asyncio.sleep(0)

asyncio.run(main())
wait_for_reader()
flush()
log.info("last")
"""

FORK = """
for number in range(2000):
    log.info("parent", number=number)
child = os.fork()
if child == 0:
    log.info("child")
    flush()
    os._exit(0)
wait_for_reader()
assert os.waitpid(child, 0)[1] == 0
"""

EXIT = """
for number in range(2000):
    log.info("x", number=number)
"""


def started(script: str) -> subprocess.Popen[bytes]:
    """A process whose log nobody reads."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", BEGINNING + script], stdin=pipe, stdout=pipe, stderr=pipe
    )


def read_after_a_while(script: str) -> list[dict[str, object]]:
    """The lines of a process whose log is read only when it has made all of them."""
    with started(script) as process:
        giving_up = threading.Timer(LONG, process.kill)
        giving_up.start()
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"here\n"
            _, log = process.communicate(b"\n")
        finally:
            giving_up.cancel()
    assert process.returncode == 0
    return [json.loads(line) for line in log.splitlines()]


@pytest.mark.parametrize(("count", "length"), [(25_000, 1), (150, 100_000)])
def test_a_loop_goes_on_and_the_log_tells_how_many_lines_are_missing(count: int, length: int) -> None:
    lines = read_after_a_while(LOOP.format(count=count, length=length))
    numbers = [each["number"] for each in lines if each["event"] == "x"]
    assert numbers == list(range(len(numbers)))
    (dropped,) = [each for each in lines if each["event"] == "log.lines_dropped"]
    assert dropped["lines"] == count - len(numbers)
    assert (dropped["level"], dropped["process"]) == ("warning", "api")
    # Lines of answers have their place among the others.
    assert [each["event"] for each in lines[4:8]] == ["x", "x", "request", "x"]
    assert [each["event"] for each in lines[-2:]] == ["log.lines_dropped", "last"]


def test_a_fork_writes_its_own_lines_and_not_those_of_its_parent() -> None:
    lines = read_after_a_while(FORK)
    assert [each["event"] for each in lines].count("child") == 1
    assert [each["number"] for each in lines if each["event"] == "parent"] == list(range(2000))


def test_a_log_that_nobody_reads_does_not_hold_the_end_of_a_process() -> None:
    with started(EXIT) as process:
        try:
            assert process.wait(LONG) == 0
        finally:
            process.kill()


def test_lines_wait_for_a_thread_that_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Line] = []
    both = threading.Event()

    def write(lines: list[Line], _dropped: int, _patience: float | None) -> None:
        written.extend(lines)
        if len(written) == 2:
            both.set()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = LogWriter(write)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        writer.add("a\n")
    writer.add("b\n")
    assert both.wait(LONG)
    assert written == ["a\n", "b\n"]


def test_without_any_thread_the_last_lines_are_written_by_who_flushes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[tuple[list[Line], bool]] = []

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    writer = LogWriter(lambda lines, _, patience: written.append((lines, patience is not None)))
    writer.add("a\n")
    writer.flush()
    assert written == [(["a\n"], True)]


def test_a_full_pipe_is_given_up_by_who_must_not_wait() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w", encoding="utf-8") as stream:
        with pytest.raises(TimeoutError):
            write_to_pipe(stream, "x" * 99 + "\n" + "y" * 10_000_000, 0.01)
        assert reader.read(100) == b"x" * 99 + b"\n"


def test_the_lines_of_answers_are_written_while_logging_shuts_down() -> None:
    with logged_lines() as stream:
        assert isinstance(stream, io.StringIO)
        telemetry.observe_request(None, "GET", 404, 0.002, ANONYMOUS, None)
        (handler,) = logging.getLogger().handlers
        handler.acquire()  # as logging.shutdown does
        try:
            handler.flush()
        finally:
            handler.release()
        assert json.loads(stream.getvalue())["status"] == 404
