"""The waits of tests end when nothing happens any more, however busy the machine is."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path

import pytest

from tests.support import patience as waits
from tests.support.patience import Deadline, patience


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "LOOK", 0.01)
    monkeypatch.setattr(waits.os, "getloadavg", lambda: (0.0, 0.0, 0.0))


# A timeout that is the subject of the test, that goes on while answers come, or that a client was given.
OTHER_TIMEOUTS = {
    "faults/stubborn.py",
    "foundation/database/test_pool.py",
    "support/patience.py",
    "support/transport.py",
}


TESTS = Path(__file__).parents[1]
SOURCES = {str(path.relative_to(TESTS)): path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
CLIENTS = {"httpx.Client", "httpx.AsyncClient", "httpx2.AsyncClient", "HTTPConnection"}


def test_no_other_wait_ends_by_a_fixed_time() -> None:
    timed = {name for name, source in SOURCES.items() if re.search(r"asyncio\.timeout\(", source)}
    assert timed == OTHER_TIMEOUTS


def test_no_client_gives_up_within_a_minute() -> None:
    """Unless it is told otherwise, httpx waits five seconds. What a client hands to a transport in its own
    process has no such limit."""
    hasty = [
        f"{name}:{call.lineno}"
        for name, source in SOURCES.items()
        if any(f"{client}(" in source for client in CLIENTS)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in CLIENTS
        if is_hasty({each.arg: each.value for each in call.keywords})
    ]
    assert hasty == []


def is_hasty(given: dict[str | None, ast.expr]) -> bool:
    """Whether a client with these arguments may give up within a minute."""
    if "transport" in given:
        return False
    match given.get("timeout"):
        case None:
            return True
        case ast.Constant(value=int() | float() as seconds):
            return seconds < 60
        case _:
            return False


async def test_without_an_end_it_ends() -> None:
    with pytest.raises(TimeoutError):
        async with patience(0.05):
            await asyncio.sleep(60)


async def test_while_something_moves_it_goes_on() -> None:
    moves = 0
    async with patience(0.2, lambda: moves):
        while moves < 50:
            moves += 1
            await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError):
        async with patience(0.05, lambda: moves):
            await asyncio.sleep(60)


async def test_on_a_busy_machine_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits.os, "getloadavg", lambda: (1e9, 0.0, 0.0))
    async with patience(0.1):
        await asyncio.sleep(0.5)
    deadline = Deadline(0.1)
    await asyncio.sleep(0.2)
    assert not deadline.has_passed()
    monkeypatch.setattr(waits.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    await asyncio.sleep(0.2)
    assert deadline.has_passed()
