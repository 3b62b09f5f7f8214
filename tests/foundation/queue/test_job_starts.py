"""Counts of starts and failures on a real database."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import Database
from lapel.foundation.queue.job_starts import JobStarts, PoisonedJob, TooEarly

JOB, OTHER = 7, 8
MOST = 100


async def counts(database: Database) -> dict[int, tuple[int, int]]:
    """Starts and failures of each job."""
    async with database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT job_id, cardinality(charges) AS starts, failures FROM job_starts"
        )
    return {row["job_id"]: (row["starts"], row["failures"]) for row in rows}


async def move_starts(database: Database, back: timedelta) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE job_starts SET last_started_at = last_started_at - $1::interval", back
        )


async def begin_later(starts: JobStarts, database: Database) -> int:
    """Begin as if the last start was a minute ago."""
    await move_starts(database, timedelta(minutes=1))
    return await starts.begin(JOB, MOST)


async def test_starts_add_up_until_the_job_fails_or_ends(database: Database) -> None:
    starts = JobStarts(database)
    assert [await begin_later(starts, database) for _ in range(3)] == [1, 2, 3]
    assert await starts.begin(OTHER, MOST) == 1
    assert await starts.fail(JOB) == 1
    assert await starts.begin(JOB, MOST) == 1
    assert await starts.fail(JOB) == 2
    await starts.forget(JOB)
    assert await counts(database) == {OTHER: (1, 0)}
    assert await starts.begin(JOB, MOST) == 1
    assert await starts.fail(JOB) == 1


async def test_a_job_whose_workers_are_killed_starts_less_and_less_often(database: Database) -> None:
    """Otherwise a job that is only beside the one that kills the workers is held with it, in a minute."""
    starts = JobStarts(database)
    shortest = [1, 3, 7, 15, 30, 30, 30]
    for seconds in shortest:
        await begin_later(starts, database)
        await move_starts(database, timedelta(seconds=seconds - 0.5))
        with pytest.raises(TooEarly) as early:
            await starts.begin(JOB, MOST)
        assert timedelta() < early.value.delay < timedelta(seconds=0.75)
        with pytest.raises(TooEarly):
            await starts.begin(JOB, MOST)  # nothing was counted
        await move_starts(database, timedelta(seconds=0.5))
    assert await starts.begin(JOB, MOST) == len(shortest) + 1
    assert await starts.begin(OTHER, MOST) == 1


async def test_a_job_with_too_many_starts_is_poisoned(database: Database) -> None:
    starts = JobStarts(database)
    for _ in range(3):
        await starts.begin(JOB, 3)
        await move_starts(database, timedelta(minutes=1))
    with pytest.raises(PoisonedJob, match="3 starts"):
        await starts.begin(JOB, 3)


async def test_a_job_that_failed_or_was_survived_starts_at_once(database: Database) -> None:
    starts = JobStarts(database)
    await begin_later(starts, database)
    await begin_later(starts, database)
    await starts.fail(JOB)
    assert await starts.begin(JOB, MOST) == 1
    starts.survive(JOB)
    assert await starts.begin(JOB, MOST) == 1


async def test_a_start_that_the_worker_survives_counts_no_more(database: Database) -> None:
    one, another = JobStarts(database), JobStarts(database)
    await one.begin(JOB, MOST)
    await one.begin(OTHER, MOST)
    one.survive(JOB)
    await move_starts(database, timedelta(minutes=1))
    assert await another.begin(JOB, MOST) == 2  # before `one` could correct the count
    await one.take_back()
    await one.take_back()
    assert await counts(database) == {JOB: (1, 0), OTHER: (1, 0)}
    one.survive(OTHER)
    assert await one.begin(OTHER, MOST) == 1


async def test_a_start_that_was_not_counted_takes_back_no_death_of_another(database: Database) -> None:
    """The worker cannot know: its connection broke while the statement was under way."""
    one, another = JobStarts(database), JobStarts(database)
    await one.begin(JOB, MOST)  # and is killed
    await move_starts(database, timedelta(minutes=1))
    async with database.transaction() as connection:
        await connection.execute("ALTER TABLE job_starts ADD CHECK (cardinality(charges) < 2)")
    with pytest.raises(asyncpg.CheckViolationError):
        await another.begin(JOB, MOST)
    await another.take_back()
    assert await counts(database) == {JOB: (1, 0)}


async def test_what_ended_meanwhile_needs_no_correction(database: Database) -> None:
    one, another = JobStarts(database), JobStarts(database)
    await one.begin(JOB, MOST)
    one.survive(JOB)
    await another.forget(JOB)
    await one.take_back()
    assert await counts(database) == {}


async def test_without_the_database_a_correction_waits(database: Database) -> None:
    starts = JobStarts(database)
    await starts.begin(JOB, MOST)
    await starts.begin(OTHER, MOST)
    starts.survive(JOB)
    await database.close()
    with pytest.raises(Unavailable):
        await starts.take_back()
    with pytest.raises(Unavailable):
        await starts.begin(JOB, MOST)
    with pytest.raises(Unavailable):
        await starts.fail(OTHER)
    await starts.forget(JOB)
    await database.open()
    assert await counts(database) == {JOB: (1, 0), OTHER: (1, 0)}
    await starts.take_back()
    assert await counts(database) == {JOB: (0, 0), OTHER: (0, 0)}
