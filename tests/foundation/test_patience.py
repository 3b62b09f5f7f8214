"""The waits of tests end when nothing happens any more, however busy the machine is."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import patience as waits
from tests.support.patience import Spent, patience


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.01)
    monkeypatch.setattr(waits.os, "getloadavg", lambda: (0.0, 0.0, 0.0))


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
    assert Spent().not_counted() >= 0
