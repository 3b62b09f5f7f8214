"""A worker says that it is ready once its parts are made, stops every part that it started, never forks."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from lapel.foundation.ports import Ports
from lapel.foundation.slices import Services, Slice, WorkerPart
from lapel.hosting import worker
from tests.faults.processes import process
from tests.support.forks import note_forks
from tests.support.patience import patience
from tests.support.running import Running
from tests.transcription.office import SLOW, SPEECH, office


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


async def test_it_starts_its_child_processes_without_running_python_in_a_fork(
    fresh_database: str, tmp_path: Path
) -> None:
    """A fork that hung on another thread's lock stopped the whole worker. After its kill the fork held the
    lock of its scratch folder, and no other worker removed the audio in it."""
    forked = tmp_path / "forked"
    async with office(tmp_path / "office", fresh_database, worker=False) as opened:
        await opened.upload(SPEECH)
        async with (
            process("worker", opened.live.settings, before=partial(note_forks, forked)),
            patience(SLOW),
        ):
            while not await opened.value("SELECT count(*) FROM audio_facts"):  # noqa: ASYNC110 - another process's row
                await asyncio.sleep(0.05)
    assert not forked.exists()
