"""A step whose job is cancelled, because the queue lost the database, goes on and ends as any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.ports import Ports
from lapel.slices.recordings.service import Audio
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.rows import ClaimRow
from lapel.slices.transcription.work import work_queries
from lapel.slices.transcription.work.runner import Runner
from tests.recordings.support import Device
from tests.support.patience import patience
from tests.transcription.office import SLOW, office
from tests.transcription.test_races import Looked, awaiting_probe, steps_of

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

END_SESSIONS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1"


class Slow(Looked):
    """It is told of an audio, and ends when it may."""

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


async def test_a_step_outlives_its_job_and_keeps_its_place_until_it_ends(
    device: Device, ports: Ports, slow: Runner
) -> None:
    recording_id = await awaiting_probe(device, ports)
    job = asyncio.create_task(slow.run("decode"))
    async with patience(SLOW):
        may_end = await Slow.begun.get()
    await cancelled(job)
    assert await slow.run("decode") is None  # nobody else has it
    may_end.set()
    async with patience(SLOW):
        while not await is_probed(device, recording_id):  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.02)
    assert Slow.begun.empty()
    again = await awaiting_probe(device, ports)
    job = asyncio.create_task(slow.run("decode"))
    async with patience(SLOW):
        (await Slow.begun.get()).set()
    await job
    assert await is_probed(device, again)


async def test_the_result_of_a_step_that_ends_in_an_outage_is_written_after_it(
    device: Device, ports: Ports, slow: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording_id = await awaiting_probe(device, ports)
    job = asyncio.create_task(slow.run("decode"))
    async with patience(SLOW):
        may_end = await Slow.begun.get()
    tries = Counter[str]()
    lock = work_queries.lock

    async def away(connection: Connection, step: ClaimRow) -> bool:
        tries["lock"] += 1
        if tries["lock"] <= 2:
            raise Unavailable("The database is away.")
        return await lock(connection, step)

    monkeypatch.setattr(work_queries, "lock", away)
    may_end.set()
    async with patience(SLOW):
        await job
    assert tries["lock"] == 3
    assert await is_probed(device, recording_id)


async def test_a_stop_puts_a_step_back_whose_job_was_cancelled(
    device: Device, ports: Ports, slow: Runner
) -> None:
    await awaiting_probe(device, ports)
    job = asyncio.create_task(slow.run("decode"))
    async with patience(SLOW):
        await Slow.begun.get()
    await cancelled(job)
    await slow.stop()
    async with ports.database.acquire() as connection:
        free = await connection.fetchval("SELECT count(*) FROM speech_work WHERE lease IS NULL")
    assert free == 1


@asynccontextmanager
async def away(url: str) -> AsyncGenerator[None]:
    """The database lets nobody in during the block."""
    admin = await asyncpg.connect(url, database="postgres")
    name = urlsplit(url).path.strip("/")
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute(END_SESSIONS, name)
        yield
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await admin.close()


async def test_a_provider_is_asked_once_if_the_queue_loses_the_database_meanwhile(
    tmp_path: Path, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer, asked = asyncio.Event(), Counter[str]()
    async with office(tmp_path, fresh_database) as opened:
        respond = opened.fake.respond

        async def respond_late(
            request: web.Request, handler: Callable[[Any, web.Request], Awaitable[web.Response]]
        ) -> web.StreamResponse:
            asked[request.path] += 1
            await may_answer.wait()
            return await respond(request, handler)

        monkeypatch.setattr(opened.fake, "respond", respond_late)
        _, transcription_id = await opened.transcribe()
        async with patience(SLOW):
            while not asked:  # noqa: ASYNC110 - another server's counter
                await asyncio.sleep(0.02)
            with capture_logs() as lines:
                async with away(fresh_database):
                    while "job.stopped" not in {line["event"] for line in lines}:  # noqa: ASYNC110 - a log
                        await asyncio.sleep(0.02)
        may_answer.set()
        assert (await opened.ended(transcription_id))["status"] == "completed"
    assert list(asked.values()) == [1]
