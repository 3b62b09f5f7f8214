"""Jobs that fail, kill their worker, or meet an outage: tried again, held, never lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from lapel import app
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import Database
from lapel.foundation.queue import queue_worker
from lapel.foundation.queue.jobs import USUAL, Job, Schedule, enqueue
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.slices.transcription.payloads import LANES
from tests.foundation.queue.workers import Payload, count, until, worker
from tests.support.postgres import END_ALL_OF
from tests.support.running import Running

# So many workers began each job and none of them lived to tell; the last one began so long ago.
DEATHS = """
INSERT INTO job_starts (job_id, charges, last_started_at)
SELECT id, array_fill('dead'::text, ARRAY[$1::integer]), now() - $2::interval FROM jobs.pgqueuer
RETURNING last_started_at
"""


async def test_a_failing_job_is_tried_again_and_then_held(database: Database) -> None:
    tries: list[str] = []

    async def fail(payload: Payload) -> None:
        tries.append(payload.word)
        raise ValueError("no")

    async with worker(database, Job(entrypoint="fail", payload=Payload, handler=fail, attempts=2)):
        async with database.transaction() as connection:
            await enqueue(connection, "fail", Payload("x"))

        async def held() -> bool:
            return await count(database, "SELECT count(*) FROM jobs.pgqueuer WHERE status = 'failed'") == 1

        await until(held)
    assert tries == ["x", "x"]


@pytest.mark.parametrize(
    "outage",
    [Unavailable("the database"), StoreUnavailable("the store"), asyncpg.DiskFullError("no room")],
)
async def test_an_outage_uses_up_no_tries(
    database: Database, outage: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "_LONGEST_OUTAGE_DELAY", 0.1)
    tries: list[str] = []

    async def need(payload: Payload) -> None:
        tries.append(payload.word)
        if len(tries) == 1:
            raise outage

    async with worker(database, Job(entrypoint="need", payload=Payload, handler=need, attempts=1)):
        async with database.transaction() as connection:
            await enqueue(connection, "need", Payload("x"))
            await connection.execute("UPDATE jobs.pgqueuer SET attempts = 2000")  # an outage of many hours

        async def done() -> bool:
            return not await count(database, "SELECT count(*) FROM jobs.pgqueuer")

        await until(done)
    assert tries == ["x", "x"]
    assert await count(database, "SELECT count(*) FROM job_starts") == 0


@pytest.mark.deep
async def test_after_outages_a_job_has_all_its_tries(database: Database) -> None:
    ends: list[Exception | None] = [Unavailable("the database"), ValueError("no"), ValueError("no"), None]
    tries: list[Exception | None] = []

    async def need(_: Payload) -> None:
        tries.append(end := ends[len(tries)])
        if end is not None:
            raise end

    async with worker(database, Job(entrypoint="need", payload=Payload, handler=need, attempts=3)):
        async with database.transaction() as connection:
            await enqueue(connection, "need", Payload("x"))

        async def ended() -> bool:
            return not await count(database, "SELECT count(*) FROM jobs.pgqueuer WHERE status <> 'failed'")

        await until(ended)
    assert tries == ends
    assert await count(database, "SELECT count(*) FROM jobs.pgqueuer") == 0, "held"
    assert await count(database, "SELECT count(*) FROM job_starts") == 0


async def test_a_job_that_always_kills_its_worker_is_held(database: Database) -> None:
    ran: list[str] = []

    async def handle(payload: Payload) -> None:
        ran.append(payload.word)

    async with database.transaction() as connection:
        await enqueue(connection, "deadly", Payload("x"))
        await connection.execute(DEATHS, 20, timedelta(minutes=1))
    async with worker(database, Job(entrypoint="deadly", payload=Payload, handler=handle)):

        async def held() -> bool:
            return await count(database, "SELECT count(*) FROM jobs.pgqueuer WHERE status = 'failed'") == 1

        await until(held)
        assert ran == []
        # The operator has found the cause, and lets the job run again.
        async with database.acquire() as connection:
            await connection.execute("UPDATE jobs.pgqueuer SET status = 'queued'")

        async def gone() -> bool:
            return await count(database, "SELECT count(*) FROM jobs.pgqueuer") == 0

        await until(gone)
    assert ran == ["x"]


async def test_a_job_whose_worker_was_killed_a_moment_ago_runs_a_second_later(database: Database) -> None:
    ran: list[datetime] = []

    async def handle(_: Payload) -> None:
        ran.append(datetime.now(UTC))

    async with database.transaction() as connection:
        await enqueue(connection, "beside", Payload("x"))
        began: datetime = await connection.fetchval(DEATHS, 1, timedelta())
    async with worker(database, Job(entrypoint="beside", payload=Payload, handler=handle)):

        async def gone() -> bool:
            return await count(database, "SELECT count(*) FROM jobs.pgqueuer") == 0

        await until(gone)
    assert [each - began >= timedelta(seconds=1) for each in ran] == [True]


async def test_a_job_that_only_makes_a_worker_do_steps_is_never_held_for_its_starts(
    live: Running, database: Database
) -> None:
    """A worker may be busy with steps for an hour, and be killed each time for the sake of one step."""
    services = app.open_services(live.ports)
    services.worker_parts()
    lanes = {job.entrypoint: job for job in services.jobs() if job.lane.name in LANES}
    ran: list[str] = []

    async def handle(payload: Payload) -> None:
        ran.append(payload.word)

    job = replace(lanes["speech.decode"], payload=Payload, handler=handle, lane=USUAL)
    async with database.transaction() as connection:
        await enqueue(connection, job.entrypoint, Payload("x"))
        await connection.execute(DEATHS, 1000, timedelta())
    async with worker(database, job):

        async def gone() -> bool:
            return await count(database, "SELECT count(*) FROM jobs.pgqueuer") == 0

        await until(gone)
    assert ran == ["x"]
    assert {each.max_starts for each in lanes.values()} == {None}


@pytest.mark.deep
@pytest.mark.parametrize("scheduled", [True, False])
async def test_a_job_under_way_outlives_a_database_that_is_away_for_a_moment(
    scheduled: bool, database: Database
) -> None:
    begun: list[str] = []
    starts: list[int] = []
    done = asyncio.Event()
    admin = await asyncpg.connect(database.dsn, database="postgres")
    name = await count(database, "SELECT current_database()")

    async def let_in(allowed: str) -> None:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}')

    async def handle(payload: Payload) -> None:
        begun.append(payload.word)
        starts.append(await count(database, "SELECT cardinality(charges) FROM job_starts"))
        if len(begun) > 1:
            return
        try:
            await done.wait()
        except asyncio.CancelledError:
            await let_in("true")  # the database is back when PgQueuer writes down what it cancelled
            raise

    async def begun_twice() -> bool:
        return len(starts) > 1

    async def has_begun() -> bool:
        return bool(starts)

    async def gone() -> bool:
        return await count(database, "SELECT count(*) FROM jobs.pgqueuer") == 0

    async def tick() -> None:
        pass

    try:
        job = Job(entrypoint="long", payload=Payload, handler=handle)
        schedule = Schedule(name="tick", expression="* * * * * */3", handler=tick)
        async with worker(database, job, schedules=(schedule,) if scheduled else ()):
            async with database.transaction() as connection:
                await enqueue(connection, "long", Payload("x"))
            await until(has_begun)
            await let_in("false")
            await admin.execute(END_ALL_OF, name)
            try:
                await until(begun_twice)
            finally:
                done.set()
                await let_in("true")
            await until(gone)
    finally:
        await admin.close()
    assert starts == [1, 1], "the job has not killed its worker, so its first start must not count"
