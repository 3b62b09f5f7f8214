"""The waits of tests end when nothing happens any more, however busy the machine is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.support import patience as waits
from tests.support.patience import Deadline, patience


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.01)
    monkeypatch.setattr(waits.os, "getloadavg", lambda: (0.0, 0.0, 0.0))


# A timeout that is the subject of the test, that goes on while answers come, or that a client was given.
OTHER_TIMEOUTS = {
    "faults/stubborn.py",
    "foundation/database/test_pool.py",
    "support/patience.py",
    "support/transport.py",
}


def test_no_other_wait_ends_by_a_fixed_time() -> None:
    tests = Path(__file__).parents[1]
    sources = {str(path.relative_to(tests)): path.read_text(encoding="utf-8") for path in tests.rglob("*.py")}
    timed = {name for name, source in sources.items() if re.search(r"asyncio\.timeout\(", source)}
    assert timed == OTHER_TIMEOUTS


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
