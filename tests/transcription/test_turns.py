"""Whose turn it is: no world keeps another waiting, and nobody's step is lost or done by two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

import pytest

from lapel.foundation.database.pool import Database
from lapel.foundation.ports import Ports
from lapel.foundation.queue.death_charges import DeathCharges
from lapel.slices.transcription.payloads import Lane
from lapel.slices.transcription.rows import ClaimRow
from lapel.slices.transcription.work import work_queries
from lapel.slices.transcription.work.retries import pause_after
from tests.recordings.support import Device
from tests.support.tenants import make_tenant

# So many workers have died at the step, the last one just now.
DIE = """
UPDATE speech_work SET charges = array_fill('dead'::text, ARRAY[$1::integer]), lease = 'dead',
    available_at = clock_timestamp()
"""
SECOND = timedelta(seconds=1)
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 9) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects ORDER BY id;
INSERT INTO end_users (world_id, id, created_at, updated_at) SELECT id, 'eu_1', now(), now() FROM worlds;
"""
PUT = """
INSERT INTO recordings (world_id, id, end_user_id, status, source, consent_obtained, created_at, updated_at)
    SELECT $1, $2 || n, 'eu_1', 'uploaded', 'device', false, now(), now() FROM generate_series(1, $3) n;
"""
WORK = """
INSERT INTO speech_work (world_id, id, recording_id, media_id, lane, stage, available_at, created_at)
    SELECT $1, $2 || n, $2 || n, 'med', 'inference', 'transcribe', now(), now() + make_interval(secs => n)
    FROM generate_series(1, $3) n
"""


class Line:
    """Steps that wait, in a database of the test's own."""

    def __init__(self, database: Database, worlds: list[int]) -> None:
        self.database = database
        self.worlds = worlds

    async def put(self, world: int, count: int, name: str = "w") -> None:
        """So many steps of the nth world."""
        async with self.database.transaction() as connection:
            await connection.execute(PUT, self.worlds[world], name, count)
            await connection.execute(WORK, self.worlds[world], name, count)

    async def take(
        self, lease: str = "a", lane: Lane = "inference", *, worker: str = "", passed_over: Sequence[int] = ()
    ) -> ClaimRow | None:
        """The next step, taken."""
        async with self.database.transaction() as connection:
            return await work_queries.claim(connection, lane, lease, 60 * SECOND, worker, passed_over)

    async def turn_over(self, taken: ClaimRow, worker: str | None = None) -> None:
        """It has had its turn and is not done; what was done is kept by a worker."""
        async with self.database.transaction() as connection:
            assert await work_queries.put_back(
                connection, taken, timedelta(0), failed=False, turn=True, worker=worker
            )

    async def move_back(self, time: timedelta) -> None:
        """Let this time pass for all steps."""
        async with self.database.acquire() as connection:
            await connection.execute(
                "UPDATE speech_work SET available_at = available_at - $1::interval", time
            )

    async def done(self, taken: ClaimRow) -> None:
        """It is done."""
        async with self.database.transaction() as connection:
            await work_queries.delete(connection, taken.world_id, taken.id)

    async def world(self, lease: str = "a") -> int:
        """Which world's step was taken: 0, 1, …"""
        taken = await self.take(lease)
        assert taken is not None
        return self.worlds.index(taken.world_id)


@pytest.fixture
async def line(fresh_database: str) -> AsyncGenerator[Line]:
    database = Database(fresh_database)
    await database.open()
    async with database.acquire() as connection:
        await connection.execute(FILL)
        rows = await connection.fetch("SELECT id FROM worlds ORDER BY id")
    yield Line(database, [row["id"] for row in rows])
    await database.close()


@pytest.mark.parametrize("workers", [1, 2, 5])
async def test_a_thousand_jobs_of_one_world_delay_another_by_one_job_per_worker(
    line: Line, workers: int
) -> None:
    await line.put(0, 1000)
    busy = [await line.take(f"worker {n}") for n in range(workers)]
    assert all(taken is not None for taken in busy)
    await line.put(1, 1)
    # Whichever worker is done first takes the other world's job: nobody of the thousand comes before it.
    assert busy[0] is not None
    await line.done(busy[0])
    assert await line.world("worker 0") == 1


async def test_worlds_take_turns_however_much_each_has(line: Line) -> None:
    await line.put(0, 100)
    await line.put(1, 3)
    await line.put(2, 2)
    served: list[int] = []
    for _ in range(9):
        taken = await line.take()
        assert taken is not None
        served.append(line.worlds.index(taken.world_id))
        await line.done(taken)
    assert served == [0, 1, 2, 0, 1, 2, 0, 1, 0]


async def test_the_world_with_the_fewest_under_way_is_next(line: Line) -> None:
    for world in range(3):
        await line.put(world, 10)
    assert sorted([await line.world() for _ in range(6)]) == [0, 0, 1, 1, 2, 2]


async def test_in_a_world_the_oldest_is_first_and_stays_first_until_it_is_done(line: Line) -> None:
    await line.put(0, 3)
    first = await line.take()
    assert first is not None
    async with line.database.transaction() as connection:
        await work_queries.move(
            connection, first, lane="inference", stage="transcribe", piece=1, engine="local"
        )
    again = await line.take()
    assert again is not None
    assert (again.id, again.piece, again.engine) == (first.id, 1, "local")


async def test_of_many_that_take_at_once_each_gets_another(line: Line) -> None:
    await line.put(0, 20)
    await line.put(1, 20)
    taken = await asyncio.gather(*(line.take(str(n)) for n in range(8)))
    assert len({(each.world_id, each.id) for each in taken if each is not None}) == 8
    assert sum(each.world_id == line.worlds[0] for each in taken if each is not None) == 4


async def test_a_lane_knows_only_its_own(line: Line) -> None:
    await line.put(0, 1)
    assert await line.take(lane="io") is None


async def test_a_step_whose_worker_is_silent_is_free_again_and_the_silent_one_has_lost_it(line: Line) -> None:
    await line.put(0, 1)
    async with line.database.transaction() as connection:
        first = await work_queries.claim(connection, "inference", "silent", timedelta(0))
    assert first is not None
    second = await line.take("other")
    assert second is not None
    assert (second.id, second.deaths) == (first.id, 0)
    async with line.database.transaction() as connection:
        assert not await work_queries.renew(connection, first, SECOND)
        assert not await work_queries.lock(connection, first)
        assert not await work_queries.put_back(connection, first, SECOND, failed=True)
        assert await work_queries.renew(connection, second, SECOND)
        assert await work_queries.lock(connection, second)


async def test_an_audio_is_charged_with_the_deaths_of_workers_that_were_at_it(line: Line) -> None:
    await line.put(0, 1)

    async def later() -> ClaimRow:
        await line.move_back(SECOND)
        return await claim()

    async def claim() -> ClaimRow:
        async with line.database.transaction() as connection:
            claimed = await work_queries.claim(connection, "inference", "dies", timedelta(0))
        assert claimed is not None
        return claimed

    async def dies_at(claimed: ClaimRow) -> None:
        of = (claimed.world_id, claimed.id, f"of {claimed.lease}", claimed.lease)
        async with line.database.acquire() as connection:
            assert await connection.fetchval(work_queries.CHARGE, *of) == 1

    charges = DeathCharges(line.database, charge=work_queries.CHARGE, take_back=work_queries.TAKE_BACK)
    await dies_at(await claim())
    second = await later()
    async with charges.at(second.world_id, second.id, second.lease):
        pass  # and this one dies afterwards
    third = await later()
    async with charges.at(third.world_id, third.id, third.lease):
        pass
    async with line.database.transaction() as connection:  # this one is stopped
        assert await work_queries.put_back(connection, third, timedelta(0), failed=False)
    fourth = await claim()
    assert [second.deaths, third.deaths, fourth.deaths] == [1, 1, 1]


async def test_an_audio_waits_longer_and_longer_after_each_death_at_it(line: Line) -> None:
    """So others go on, and what is not the cause of the deaths has time to end."""
    await line.put(0, 1)
    for deaths, wait in ((1, 1), (2, 3), (5, 30), (19, 30)):
        async with line.database.acquire() as connection:
            await connection.execute(DIE, deaths)
        assert await line.take() is None
        async with line.database.transaction() as connection:
            assert await work_queries.lacking(connection) == []
        await line.move_back(timedelta(seconds=wait))
        assert await line.take() is not None


async def test_what_was_put_back_waits_and_counts_as_a_failure_only_when_it_failed(line: Line) -> None:
    await line.put(0, 1)
    taken = await line.take()
    assert taken is not None
    async with line.database.transaction() as connection:
        assert await work_queries.put_back(connection, taken, timedelta(0), failed=False)
    taken = await line.take()
    assert taken is not None
    assert (taken.deaths, taken.failures) == (0, 0)
    async with line.database.transaction() as connection:
        assert await work_queries.put_back(connection, taken, 60 * SECOND, failed=True)
    assert await line.take() is None


async def test_files_that_take_many_turns_come_after_those_that_nobody_has_looked_at(line: Line) -> None:
    await line.put(0, 3)
    async with line.database.acquire() as connection:
        await connection.execute("UPDATE speech_work SET lane = 'decode', stage = 'probe'")
    served: list[tuple[str, int]] = []
    for _ in range(6):
        taken = await line.take(lane="decode")
        assert taken is not None
        served.append((taken.id, taken.turns))
        await line.turn_over(taken)
    # Of the long ones the oldest goes on to its end, so that few are under way at once.
    assert served == [("w1", 0), ("w2", 0), ("w3", 0), ("w1", 1), ("w1", 2), ("w1", 3)]


async def test_a_turn_of_the_models_changes_nothing_in_the_order(line: Line) -> None:
    await line.put(0, 2)
    taken = await line.take()
    assert taken is not None
    await line.turn_over(taken)
    again = await line.take()
    assert again is not None
    assert (again.id, again.turns, again.deaths) == (taken.id, 1, 0)
    async with line.database.transaction() as connection:
        await work_queries.move(
            connection, again, lane="inference", stage="transcribe", piece=1, engine="local"
        )
    following = await line.take()
    assert following is not None
    assert (following.id, following.turns) == (taken.id, 0)


async def test_worlds_take_turns_with_files_that_take_many(line: Line) -> None:
    """Long files of two worlds keep a third one waiting for one turn."""
    for world in (0, 1):
        await line.put(world, 2)
    first = [await line.take(str(n)) for n in range(2)]
    await line.put(2, 1)
    assert first[0] is not None
    await line.turn_over(first[0])
    assert await line.world() == 2


async def test_what_a_worker_keeps_between_turns_is_left_to_it_for_a_while(line: Line) -> None:
    await line.put(0, 2)
    taken = await line.take(worker="one")
    assert taken is not None
    await line.turn_over(taken, worker="one")
    other = await line.take("b", worker="two")
    assert other is not None
    assert other.id != taken.id
    again = await line.take(worker="one")
    assert again is not None
    assert again.id == taken.id
    await line.turn_over(again, worker="one")
    assert await line.take(worker="two") is None
    async with line.database.acquire() as connection:  # it does not come back
        await connection.execute("UPDATE speech_work SET available_at = available_at - interval '1 minute'")
    last = await line.take(worker="two")
    assert last is not None
    assert last.id == taken.id


async def test_worlds_that_are_passed_over_get_none(line: Line) -> None:
    for world in (0, 1):
        await line.put(world, 2)
    taken = await line.take(passed_over=line.worlds[:1])
    assert taken is not None
    assert taken.world_id == line.worlds[1]
    assert await line.take(passed_over=line.worlds[:2]) is None


async def test_two_worlds_with_the_same_ids_are_two(device: Device, ports: Ports) -> None:
    other = await make_tenant(ports)
    recording_id, _ = await device.upload(b"OggS" + bytes(10))
    await device.post("/v1/transcriptions", 201, {"recording_id": recording_id})
    async with ports.database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT world_id FROM speech_work WHERE world_id = ANY($1::bigint[])",
            [device.tenant.test_world, other.test_world],
        )
    assert [row["world_id"] for row in rows] == [device.tenant.test_world]


def test_a_service_may_be_away_for_some_minutes_and_not_for_ever() -> None:
    pauses: list[float] = []
    while (pause := pause_after(len(pauses) + 1)) is not None:
        pauses.append(pause)
    assert pauses == sorted(pauses)
    assert 180 <= sum(pauses) <= 600
