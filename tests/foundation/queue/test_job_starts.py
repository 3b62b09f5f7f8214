"""Counts of starts and failures on a real database."""

from __future__ import annotations

import pytest

from lapel.foundation.core.clock import SystemClock
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import Database
from lapel.foundation.queue.job_starts import JobStarts

JOB, OTHER = 7, 8


async def counts(database: Database) -> dict[int, tuple[int, int]]:
    """Starts and failures of each job."""
    async with database.acquire() as connection:
        rows = await connection.fetch("SELECT job_id, starts, failures FROM job_starts")
    return {row["job_id"]: (row["starts"], row["failures"]) for row in rows}


async def test_starts_add_up_until_the_job_fails_or_ends(database: Database) -> None:
    starts = JobStarts(database, SystemClock())
    assert [await starts.begin(JOB) for _ in range(3)] == [1, 2, 3]
    assert await starts.begin(OTHER) == 1
    assert await starts.fail(JOB) == 1
    assert await starts.begin(JOB) == 1
    assert await starts.fail(JOB) == 2
    await starts.forget(JOB)
    assert await counts(database) == {OTHER: (1, 0)}
    assert await starts.begin(JOB) == 1
    assert await starts.fail(JOB) == 1


async def test_a_start_that_the_worker_survives_counts_no_more(database: Database) -> None:
    one, another = JobStarts(database, SystemClock()), JobStarts(database, SystemClock())
    await one.begin(JOB)
    await one.begin(OTHER)
    one.survive(JOB)
    assert await another.begin(JOB) == 2  # before `one` could correct the count
    await one.take_back()
    await one.take_back()
    assert await counts(database) == {JOB: (1, 0), OTHER: (1, 0)}
    one.survive(OTHER)
    assert await one.begin(OTHER) == 1


async def test_what_ended_meanwhile_needs_no_correction(database: Database) -> None:
    one, another = JobStarts(database, SystemClock()), JobStarts(database, SystemClock())
    await one.begin(JOB)
    one.survive(JOB)
    await another.forget(JOB)
    await one.take_back()
    assert await counts(database) == {}


async def test_without_the_database_a_correction_waits(database: Database) -> None:
    starts = JobStarts(database, SystemClock())
    await starts.begin(JOB)
    await starts.begin(OTHER)
    starts.survive(JOB)
    await database.close()
    with pytest.raises(Unavailable):
        await starts.take_back()
    with pytest.raises(Unavailable):
        await starts.begin(JOB)
    with pytest.raises(Unavailable):
        await starts.fail(OTHER)
    await starts.forget(JOB)
    await database.open()
    assert await counts(database) == {JOB: (1, 0), OTHER: (1, 0)}
    await starts.take_back()
    assert await counts(database) == {JOB: (0, 0), OTHER: (0, 0)}
