"""Jobs on the real queue: enqueued with the transaction, run in the places of their lane, never lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from lapel import app
from lapel.foundation.core.admission import Admission
from lapel.foundation.database.connection import PooledConnection
from lapel.foundation.database.pool import Database
from lapel.foundation.queue import queue_worker
from lapel.foundation.queue.jobs import USUAL, WORKERS, Job, QueueLane, Schedule, enqueue
from lapel.foundation.queue.queue_connections import QueueConnection
from tests.foundation.queue.workers import Payload, count, until, worker
from tests.support.postgres import END_OTHERS
from tests.support.running import Running

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

NARROW = QueueLane("narrow", 2)


async def _enqueue_and_roll_back(database: Database) -> None:
    async with database.transaction() as connection:
        await enqueue(connection, "say", Payload("never"))
        raise RuntimeError("rolled back")


async def test_a_job_runs_once_its_transaction_commits(database: Database) -> None:
    seen: list[str] = []

    async def handle(payload: Payload) -> None:
        seen.append(payload.word)

    async with worker(database, Job(entrypoint="say", payload=Payload, handler=handle)):
        with pytest.raises(RuntimeError, match="rolled back"):
            await _enqueue_and_roll_back(database)
        async with database.transaction() as connection:
            await enqueue(connection, "say", Payload("now"))

        async def done() -> bool:
            return bool(seen) and not await count(database, "SELECT count(*) FROM jobs.pgqueuer")

        await until(done)
    assert seen == ["now"]
    assert await count(database, "SELECT count(*) FROM job_starts") == 0


async def test_equal_jobs_are_enqueued_once_and_leave_the_transaction_usable(database: Database) -> None:
    async with database.transaction() as connection:
        for _ in range(3):
            await enqueue(connection, "say", Payload("once"), dedupe="one")
        await enqueue(connection, "other", Payload("beside"), dedupe="one")
    assert await count(database, "SELECT count(*) FROM jobs.pgqueuer") == 2


async def test_a_job_over_its_time_limit_is_stopped(database: Database) -> None:
    stopped = asyncio.Event()

    async def sleep(_: Payload) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.set()
            raise

    job = Job(
        entrypoint="sleep", payload=Payload, handler=sleep, attempts=1, time_limit=timedelta(seconds=0.2)
    )
    async with worker(database, job):
        async with database.transaction() as connection:
            await enqueue(connection, "sleep", Payload("x"))
        await asyncio.wait_for(stopped.wait(), 20)


async def test_jobs_outlive_a_database_that_cuts_every_connection(database: Database) -> None:
    seen: set[str] = set()

    async def handle(payload: Payload) -> None:
        seen.add(payload.word)

    async with worker(database, Job(entrypoint="say", payload=Payload, handler=handle)):
        for number in range(3):
            async with database.transaction() as connection:
                await enqueue(connection, "say", Payload(str(number)))
            await count(database, END_OTHERS)

        async def all_seen() -> bool:
            return len(seen) == 3

        await until(all_seen)


async def test_schedules_come_round_and_a_failing_one_is_tried_again(database: Database) -> None:
    rounds: list[int] = []

    async def tick() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise ValueError("the first round fails")

    schedule = Schedule(name="tick", expression="* * * * * *", handler=tick)
    async with worker(database, schedules=(schedule,)):

        async def twice() -> bool:
            return len(rounds) >= 2

        await until(twice)


async def test_the_api_can_tell_whether_a_worker_is_there(database: Database) -> None:
    assert not await count(database, WORKERS)
    async with worker(database):

        async def here() -> bool:
            return bool(await count(database, WORKERS))

        await until(here)
    assert not await count(database, WORKERS)


async def test_a_worker_is_one_however_many_lanes_it_has(database: Database) -> None:
    done: list[str] = []

    async def run(payload: Payload) -> None:
        done.append(payload.word)

    lanes = (USUAL, *(lane for each in app.SLICES for lane in each.lanes))
    jobs = [Job(entrypoint=lane.name, payload=Payload, handler=run, lane=lane) for lane in lanes]
    async with database.transaction() as connection:
        for lane in lanes:
            await enqueue(connection, lane.name, Payload(lane.name))
    async with AsyncExitStack() as stack:
        for lane in lanes:
            await stack.enter_async_context(worker(database, *jobs, lane=lane))

        async def all_done() -> bool:
            return len(done) == len(lanes)

        await until(all_done)
        assert await count(database, WORKERS) == 1


async def test_a_worker_whose_sign_of_life_was_refused_shows_itself_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "_SEEN_EVERY_SECONDS", 0.05)
    refuse = "ALTER TABLE workers ADD CONSTRAINT full_disk CHECK (process_id = '') NOT VALID"
    async with worker(database):

        async def here() -> bool:
            return bool(await count(database, WORKERS))

        await until(here)
        async with database.acquire() as connection:
            await connection.execute(refuse)
            await connection.execute("DELETE FROM workers")
        await asyncio.sleep(0.3)  # some signs of life are refused meanwhile
        assert not await here()
        async with database.acquire() as connection:
            await connection.execute("ALTER TABLE workers DROP CONSTRAINT full_disk")
        await until(here)


async def test_long_jobs_never_take_all_places_of_their_lane(live: Running) -> None:
    """A world that deletes or rolls out very much keeps nobody's short jobs waiting."""
    services = app.open_services(live.ports)
    services.worker_parts()
    jobs = services.jobs()
    long = [job for job in jobs if job.lane == USUAL and job.time_limit > timedelta(minutes=15)]
    assert len(long) >= 4
    assert [job.entrypoint for job in long if not job.concurrency] == []
    assert sum(job.concurrency for job in long) < USUAL.at_once


async def test_jobs_whose_turn_does_not_come_make_room_for_those_behind_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane does two at once: one holds what its world may hold, the others of it would fill the lane."""
    monkeypatch.setattr(queue_worker, "_OUT_OF_TURN", timedelta(0))
    seen: list[str] = []
    places, let_go = Admission(2, 1, patience=0.05), asyncio.Event()
    worlds = {"first": 1, "many": 1, "other": 2}

    async def handle(payload: Payload) -> None:
        if payload.word == "first":
            await let_go.wait()
        seen.append(payload.word)

    job = Job(
        entrypoint="say",
        payload=Payload,
        handler=handle,
        attempts=1,
        lane=NARROW,
        turn=lambda payload: places.place(worlds[payload.word]),
    )
    async with database.transaction() as connection:
        for word in ("first", *["many"] * 4, "other"):
            await enqueue(connection, "say", Payload(word))
    async with worker(database, job, lane=NARROW):

        async def only_one_has_started() -> bool:
            return bool(seen) and await count(database, "SELECT count(*) FROM job_starts") == 1

        try:
            await until(only_one_has_started)
            assert seen == ["other"]
            assert await count(database, "SELECT max(attempts) FROM jobs.pgqueuer") == 0, "to wait is no try"
        finally:
            let_go.set()

        async def all_done() -> bool:
            return len(seen) == len(worlds) + 3

        await until(all_done)
    assert sorted(seen) == ["first", *["many"] * 4, "other"]


async def test_connections_of_a_worker_know_the_status_of_a_job(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask: Any = vars(PooledConnection)["_introspect_types"]

    async def asks(connection: Connection, oids: list[int], timeout: float | None) -> Any:
        asked.extend(oids)
        return await ask(connection, oids, timeout)

    monkeypatch.setattr(QueueConnection, "_introspect_types", asks)
    status = await count(database, "SELECT 'jobs.pgqueuer_status'::regtype::oid::int8")
    taken = asyncio.Event()

    async def take(_: Payload) -> None:
        taken.set()

    async with database.transaction() as connection:
        await enqueue(connection, "take", Payload("now"))
    async with worker(database, Job(entrypoint="take", payload=Payload, handler=take)):
        await taken.wait()
    assert status not in asked
