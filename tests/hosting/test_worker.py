"""A worker says that it is ready once its parts are made, and stops every part that it started."""

from __future__ import annotations

import asyncio

import pytest

from lapel.foundation.ports import Ports
from lapel.foundation.slices import Services, Slice, WorkerPart
from lapel.hosting import worker
from tests.support.running import Running


class Part:
    """A part that notes what is done with it, and may fail to start."""

    def __init__(self, *, fails: bool = False) -> None:
        self.steps: list[str] = []
        self._fails = fails

    async def start(self) -> None:
        if self._fails:
            raise OSError("it does not start")
        self.steps.append("start")

    async def stop(self) -> None:
        self.steps.append("stop")


async def test_a_part_that_cannot_be_made_fails_the_start(
    live: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(_services: Services) -> tuple[WorkerPart, ...]:
        raise ImportError("a library is missing")

    def opened(ports: Ports) -> Services:
        return Services(ports, [Slice(name="broken", worker=parts)])

    monkeypatch.setattr(worker.app, "open_services", opened)
    ready = asyncio.Event()
    with pytest.raises(ImportError, match="a library is missing"):
        await worker.run_worker(live.settings, asyncio.Event(), ready.set)
    assert not ready.is_set()


async def test_parts_that_started_are_stopped_when_another_does_not_start(ports: Ports) -> None:
    first, second, third = Part(), Part(fails=True), Part()
    with pytest.raises(OSError, match="it does not start"):
        await worker.work(Services(ports, ()), (first, second, third), asyncio.Event())
    assert (first.steps, second.steps, third.steps) == (["start", "stop"], [], [])


async def test_parts_are_stopped_once_each(ports: Ports) -> None:
    part, stop = Part(), asyncio.Event()
    stop.set()
    await worker.work(Services(ports, ()), (part,), stop)
    assert part.steps == ["start", "stop"]
