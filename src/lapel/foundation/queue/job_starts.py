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
from lapel.foundation.queue.death_charges import DeathCharges, pause_after

if TYPE_CHECKING:
    from lapel.foundation.database.pool import Database
    from lapel.foundation.queue.death_charges import DeathCharge

# When a job whose worker was killed may start again. A job that is not the cause of the kills has eight
# minutes to end before it is held.
NOT_BEFORE = f"job_starts.last_started_at + {pause_after('cardinality(job_starts.charges)')}"
# No row: it may not start yet.
BEGIN = f"""
INSERT INTO job_starts (job_id, charges, last_started_at) VALUES ($1, ARRAY[$2::text], now())
ON CONFLICT (job_id) DO UPDATE SET charges = job_starts.charges || excluded.charges,
    last_started_at = excluded.last_started_at
    WHERE {NOT_BEFORE} <= now()
RETURNING cardinality(charges)
"""  # noqa: S608 - a constant of this module
WAIT = f"SELECT {NOT_BEFORE} - now() FROM job_starts WHERE job_id = $1"  # noqa: S608 - as above
# A job that failed did not kill its worker.
FAIL = """
INSERT INTO job_starts (job_id, failures, last_started_at) VALUES ($1, 1, now())
ON CONFLICT (job_id) DO UPDATE SET charges = '{}', failures = job_starts.failures + 1
RETURNING failures
"""
TAKE_BACK = "UPDATE job_starts SET charges = array_remove(charges, $2) WHERE job_id = $1"
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
        self._charges = DeathCharges(database, charge=BEGIN, take_back=TAKE_BACK)
        self._begun: dict[int, DeathCharge] = {}

    async def begin(self, job_id: int, most: int) -> int:
        """Count a start, before the job runs. Returns how many starts have not ended, this one included.

        Raises PoisonedJob when there are more than `most`. Raises TooEarly, and counts nothing, when the
        job's last start killed its worker a short time ago.
        """
        await self.take_back()
        charge = await self._charges.write((job_id,))
        if charge is None:
            async with self._database.acquire() as connection:
                wait: timedelta | None = await connection.fetchval(WAIT, job_id)
            raise TooEarly(wait or timedelta())
        if charge.total > most:
            raise PoisonedJob(f"{most} starts, and each time the worker was killed")
        self._begun[job_id] = charge
        return charge.total

    def survive(self, job_id: int) -> None:
        """Note that the job stopped without killing this worker. The next `take_back` corrects the count,
        because the database may be away now."""
        charge = self._begun.pop(job_id, None)
        if charge is not None:
            self._charges.survive(charge)

    async def take_back(self) -> None:
        """Subtract the starts that this worker has survived."""
        await self._charges.take_back()

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
        self._begun.pop(job_id, None)
        return failures

    async def forget(self, job_id: int) -> None:
        """Delete the counts of a job that ended.

        Without the database they stay, and are pruned some time after the job has left the queue.
        """
        self._begun.pop(job_id, None)
        with contextlib.suppress(Unavailable):
            async with self._database.acquire() as connection:
                await connection.execute(FORGET, job_id)
