"""A step whose job is cancelled, because the queue lost the database, goes on and ends as any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.ports import Ports
from lapel.slices.recordings.service import Audio
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.payloads import AT_ONCE
from lapel.slices.transcription.rows import ClaimRow
from lapel.slices.transcription.work import work_queries
from lapel.slices.transcription.work.runner import Runner
from tests.recordings.support import Device
from tests.support.patience import patience
from tests.support.postgres import away
from tests.transcription.office import SLOW, office
from tests.transcription.test_races import Looked, awaiting_probe, steps_of

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection


class Slow(Looked):
    """A probe waits until the test lets it end. `begun`: an event for each probe that has begun."""

    begun: ClassVar[asyncio.Queue[asyncio.Event]]

    async def probe(self, audio: Audio, *, keep_samples: bool) -> AudioFacts:
        may_end = asyncio.Event()
        self.begun.put_nowait(may_end)
        await may_end.wait()
        return await super().probe(audio, keep_samples=keep_samples)


@pytest.fixture
async def slow(ports: Ports, tmp_path: Path) -> AsyncGenerator[Runner]:
    """A runner whose steps wait until they may end, with no other work."""
    async with ports.database.acquire() as connection:
        await connection.execute("DELETE FROM speech_work")
    Slow.begun = asyncio.Queue()
    made = Runner(ports, steps_of(Slow, ports, tmp_path / "slow"))
    yield made
    await made.stop()


async def is_probed(device: Device, recording_id: str) -> bool:
    """Whether the audio's length is known."""
    return (await device.read(recording_id))["duration_ms"] is not None


async def cancelled(job: asyncio.Task[object]) -> None:
    """Cancel the job, as a queue does that has lost the database."""
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job


async def begun_and_cancelled(job: asyncio.Task[object]) -> asyncio.Event:
    """Cancel the job once its step has begun; the event that lets the step end."""
    async with patience(SLOW):
        may_end = await Slow.begun.get()
    await cancelled(job)
    return may_end


async def test_a_step_outlives_its_job_and_gives_its_place_back_when_it_ends(
    device: Device, ports: Ports, slow: Runner
) -> None:
    for _ in range(AT_ONCE["decode"] + 1):  # a place that was not given back would be missed
        recording_id = await awaiting_probe(device, ports)
        may_end = await begun_and_cancelled(asyncio.create_task(slow.run("decode")))
        assert await slow.run("decode") is None  # the step still has its lease
        may_end.set()
        async with patience(SLOW):
            while not await is_probed(device, recording_id):  # noqa: ASYNC110 - a database
                await asyncio.sleep(0.02)
        assert Slow.begun.empty()


async def test_a_step_that_outlives_its_job_keeps_the_models_until_it_ends(
    device: Device, ports: Ports, slow: Runner
) -> None:
    for _ in range(2):
        await awaiting_probe(device, ports)
    async with ports.database.acquire() as connection:
        await connection.execute("UPDATE speech_work SET lane = 'inference'")
    may_end = await begun_and_cancelled(asyncio.create_task(slow.run("inference")))
    next_one = asyncio.create_task(slow.run("inference"))
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert Slow.begun.empty()
    may_end.set()
    async with patience(SLOW):
        (await Slow.begun.get()).set()
        assert await next_one is not None


async def test_the_result_of_a_step_that_ends_in_an_outage_is_written_after_it(
    device: Device, ports: Ports, slow: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording_id = await awaiting_probe(device, ports)
    job = asyncio.create_task(slow.run("decode"))
    async with patience(SLOW):
        may_end = await Slow.begun.get()
    tries = Counter[str]()
    lock = work_queries.lock

    async def lock_later(connection: Connection, step: ClaimRow) -> bool:
        tries["lock"] += 1
        if tries["lock"] <= 2:
            raise Unavailable("The database is away.")
        return await lock(connection, step)

    monkeypatch.setattr(work_queries, "lock", lock_later)
    may_end.set()
    async with patience(SLOW):
        await job
    assert tries["lock"] == 3
    assert await is_probed(device, recording_id)


async def test_a_stop_puts_a_step_back_whose_job_was_cancelled(
    device: Device, ports: Ports, slow: Runner
) -> None:
    await awaiting_probe(device, ports)
    await begun_and_cancelled(asyncio.create_task(slow.run("decode")))
    await slow.stop()
    async with ports.database.acquire() as connection:
        free = await connection.fetchval("SELECT count(*) FROM speech_work WHERE lease IS NULL")
    assert free == 1


async def test_a_provider_is_asked_once_if_the_queue_loses_the_database_meanwhile(
    tmp_path: Path, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer, asked = asyncio.Event(), asyncio.Queue[str]()
    async with office(tmp_path, fresh_database) as opened:
        respond = opened.fake.respond

        async def respond_late(
            request: web.Request, handler: Callable[[Any, web.Request], Awaitable[web.Response]]
        ) -> web.StreamResponse:
            asked.put_nowait(request.path)
            await may_answer.wait()
            return await respond(request, handler)

        monkeypatch.setattr(opened.fake, "respond", respond_late)
        _, transcription_id = await opened.transcribe()
        async with patience(SLOW):
            await asked.get()
            with capture_logs() as lines:
                async with away(fresh_database):
                    while "job.stopped" not in {line["event"] for line in lines}:  # noqa: ASYNC110 - a log
                        await asyncio.sleep(0.02)
        may_answer.set()
        assert (await opened.ended(transcription_id))["status"] == "completed"
    assert asked.empty()
