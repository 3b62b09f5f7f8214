"""Counts of each job: how often it was started, and how often it failed.

PgQueuer has one count for all its retries. That count cannot tell a job that fails from a job that was only
running when the database or the store was away.
"""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta
from typing import TYPE_CHECKING

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.queue.death_charges import pause_after

if TYPE_CHECKING:
    from lapel.foundation.database.pool import Database

# When a job whose worker was killed may start again. A job that is not the cause of the kills has eight
# minutes to end before it is held.
NOT_BEFORE = f"job_starts.last_started_at + {pause_after('job_starts.starts')}"
# No row: it may not start yet.
BEGIN = f"""
INSERT INTO job_starts (job_id, starts, last_started_at) VALUES ($1, 1, now())
ON CONFLICT (job_id) DO UPDATE SET starts = job_starts.starts + 1, last_started_at = excluded.last_started_at
    WHERE {NOT_BEFORE} <= now()
RETURNING starts
"""  # noqa: S608 - a constant of this module
WAIT = f"SELECT {NOT_BEFORE} - now() FROM job_starts WHERE job_id = $1"  # noqa: S608 - as above
# A job that failed did not kill its worker.
FAIL = """
INSERT INTO job_starts (job_id, starts, failures, last_started_at) VALUES ($1, 0, 1, now())
ON CONFLICT (job_id) DO UPDATE SET starts = 0, failures = job_starts.failures + 1
RETURNING failures
"""
TAKE_BACK = "UPDATE job_starts SET starts = greatest(starts - 1, 0) WHERE job_id = ANY($1::bigint[])"
FORGET = "DELETE FROM job_starts WHERE job_id = $1"


class PoisonedJob(Exception):
    """This job was started many times and never ended: it is held for the operator."""


class TooEarly(Exception):
    """A worker was killed while it ran this job, and the job may not start yet."""

    def __init__(self, wait: timedelta) -> None:
        """`wait`: the time until the job may start."""
        super().__init__("A worker was killed during its last start.")
        # At random up to half longer, so that jobs whose worker died under all of them do not meet again.
        self.delay = wait * random.uniform(1, 1.5)  # noqa: S311 - no secret


class JobStarts:
    """The counts, as one worker writes them. All methods that wait raise Unavailable when the database is
    away, unless they say otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Jobs whose last start did not kill this worker, but still counts.
        self._survived: set[int] = set()

    async def begin(self, job_id: int, most: int) -> int:
        """Count a start, before the job runs. Returns how many starts have not ended, this one included.

        Raises PoisonedJob when there are more than `most`. Raises TooEarly, and counts nothing, when the
        job's last start killed its worker a short time ago.
        """
        await self.take_back()
        async with self._database.acquire() as connection:
            starts: int | None = await connection.fetchval(BEGIN, job_id)
            if starts is None:
                wait: timedelta | None = await connection.fetchval(WAIT, job_id)
                raise TooEarly(wait or timedelta())
        if starts > most:
            raise PoisonedJob(f"{most} starts, and each time the worker was killed")
        return starts

    def survive(self, job_id: int) -> None:
        """Note that the job stopped without killing this worker. The next `take_back` corrects the count,
        because the database may be away now."""
        self._survived.add(job_id)

    async def take_back(self) -> None:
        """Subtract the starts that this worker has survived."""
        survived, self._survived = self._survived, set()
        if not survived:
            return
        try:
            async with self._database.acquire() as connection:
                await connection.execute(TAKE_BACK, list(survived))
        except BaseException:
            self._survived |= survived
            raise

    async def fail(self, job_id: int) -> int:
        """Count a failure, and forget the starts. Returns the number of failures.

        When it raises, neither the failure nor the start counts.
        """
        try:
            async with self._database.acquire() as connection:
                failures: int = await connection.fetchval(FAIL, job_id)
        except BaseException:
            self.survive(job_id)
            raise
        return failures

    async def forget(self, job_id: int) -> None:
        """Delete the counts of a job that ended.

        Without the database they stay, and are pruned some time after the job has left the queue.
        """
        with contextlib.suppress(Unavailable):
            async with self._database.acquire() as connection:
                await connection.execute(FORGET, job_id)
