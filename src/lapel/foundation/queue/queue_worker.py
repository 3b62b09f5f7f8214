"""The worker's loop around PgQueuer (source: PgQueuer's documentation and code).

This module adds what PgQueuer lacks. If a session ends because the database is unavailable, a new session
begins. A job that is cancelled with its session stays in the queue (PgQueuer would delete it); a job whose
process ends stays there too. A worker takes such a job again once the job's heartbeat is old. A job that
kills its worker starts less and less often, and is held after `max_starts` starts. A job that fails is held
after `attempts` failures. Outages count as neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import msgspec
import structlog
from pgqueuer import PgQueuer
from pgqueuer.errors import RetryRequested
from pgqueuer.queries import Queries

from lapel.foundation.core.admission import NoRoom
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.outages import OUTAGES
from lapel.foundation.queue.expected_faults import tell_fault
from lapel.foundation.queue.job_starts import JobStarts, PoisonedJob, TooEarly
from lapel.foundation.queue.jobs import USUAL, Job, QueueLane, Schedule
from lapel.foundation.queue.queue_statements import QUEUE_CHANNEL, queries
from lapel.foundation.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pgqueuer.models import Job as QueuedJob
    from pgqueuer.models import Schedule as QueuedSchedule
    from pgqueuer.models import TracebackRecord
    from pgqueuer.ports.driver import Driver
    from pgqueuer.ports.repository import EntrypointExecutionParameter
    from pgqueuer.types import JOB_STATUS, QueueEntrypoint, QueueManagerId

    from lapel.foundation.database.pool import Database
    from lapel.foundation.queue.queue_connections import QueueConnections

GRACE_SECONDS = 3.0
_HEARTBEAT = timedelta(seconds=4)
_DEQUEUE = timedelta(seconds=2)
_BATCH = 10  # jobs that are taken at once, at most
_SEEN_EVERY_SECONDS = 5.0
# Many schedules are due in the same second. The first begins at once, the second after so many seconds, and
# so on, when the ones before have usually given their connections back.
_APART_SECONDS = 0.02
# An outage or a full disk is not the job's fault: the job is tried again as long as the fault lasts.
_OUTAGES = (Unavailable, StoreUnavailable, asyncpg.InsufficientResourcesError)
# The longest delays between two tries: of a job that needs an unavailable part, and of a job that fails.
_LONGEST_OUTAGE_DELAY, _LONGEST_DELAY = 30.0, 300.0
# A job that got no turn in time is queued again after this delay.
_OUT_OF_TURN = timedelta(seconds=1)
# Exit status, for the supervisor: jobs were still running when the grace period ended.
EXIT_WITH_RUNNING_JOBS = 75

# Takes one from the attempts, because the retry that follows adds one.
PUT_BEHIND = "UPDATE jobs.pgqueuer SET priority = priority - 1, attempts = attempts - 1 WHERE id = $1"
SEEN = """
INSERT INTO workers (process_id, seen_at) VALUES ($1, now())
ON CONFLICT (process_id) DO UPDATE SET seen_at = excluded.seen_at
"""
# What PgQueuer asks after each look for jobs, in one statement: how many jobs could begin (counted to 1), and
# when the next of the later ones can.
DUE = """
SELECT ready, CASE WHEN ready = 0 THEN (SELECT min(execute_after) - now() FROM jobs.pgqueuer
    WHERE entrypoint = ANY($1) AND status = 'queued' AND execute_after > now()) END AS later
FROM (SELECT count(*) AS ready FROM (SELECT FROM jobs.pgqueuer
    WHERE entrypoint = ANY($1) AND status = 'queued' AND execute_after <= now() LIMIT 1) one) counted
"""
GONE = "DELETE FROM workers WHERE process_id = $1 OR seen_at < now() - interval '10 minutes'"

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _PatientQueries(Queries):
    """PgQueuer's statements, changed so that no job is lost when the database becomes unavailable.

    PgQueuer holds a job as failed if the database is unavailable, or full, at the moment of a retry. PgQueuer
    also deletes cancelled jobs.
    """

    # Set when a look for jobs fails. PgQueuer itself only waits then until all running jobs have ended.
    session_ends: asyncio.Event

    # Before each session PgQueuer makes 14 checks of its tables, on new connections with empty caches. These
    # checks are two thirds of the database's work at the start of a worker. They are skipped, because our
    # migrations make the tables.

    async def has_table(self, table: str) -> bool:  # noqa: ARG002
        """Whether the table exists: yes."""
        return True

    async def table_has_column(self, table: str, column: str) -> bool:  # noqa: ARG002
        """Whether the column exists: yes."""
        return True

    async def has_user_defined_enum(self, key: str, enum: str) -> bool:  # noqa: ARG002
        """Whether the value of the enum exists: yes."""
        return True

    async def table_has_index(self, table: str, index: str) -> bool:  # noqa: ARG002
        """Whether the index exists: yes."""
        return True

    # After each look for jobs PgQueuer asks three questions, one by one, to know how long it may wait. Here
    # one statement answers all of them, for one moment.
    _later: timedelta | None = None

    async def eligible_queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        """Whether a job could begin now: 1 or 0."""
        with self._ending_the_session():
            (row,) = await self.driver.fetch(DUE, entrypoints)
        self._later = cast("timedelta | None", row["later"])
        return cast("int", row["ready"])

    async def next_deferred_eta(self, entrypoints: list[QueueEntrypoint]) -> timedelta | None:  # noqa: ARG002
        """Time until the next of the later jobs may begin, None without one: as of the question before."""
        return self._later

    async def queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:  # noqa: ARG002
        """Jobs that are neither: none. (PgQueuer also asks this to end when the queue is empty, a mode that
        Lapel does not use.)"""
        return 0

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[QueuedJob]:
        """Take jobs to run."""
        with self._ending_the_session():
            return await super().dequeue(
                batch_size, entrypoints, queue_manager_id, global_concurrency_limit, heartbeat_timeout
            )

    @contextlib.contextmanager
    def _ending_the_session(self) -> Generator[None]:
        try:
            yield
        except Exception:
            self.session_ends.set()
            raise

    async def log_jobs(self, job_status: list[tuple[QueuedJob, JOB_STATUS, TracebackRecord | None]]) -> None:
        """Remove ended jobs from the queue; cancelled jobs stay in it."""
        ended = [each for each in job_status if each[1] != "canceled"]
        if ended:
            await super().log_jobs(ended)

    async def retry_job(
        self, job: QueuedJob, delay: timedelta, traceback_record: TracebackRecord | None
    ) -> None:
        """Put a job back into the queue; waits until the database is available and has room."""
        while True:
            try:
                return await super().retry_job(job, delay, traceback_record)
            except (*DATABASE_AWAY, asyncpg.InsufficientResourcesError) as error:
                tell_fault(_log, "job.retry_waits", error, of_driver=True, job=job.id)
                await asyncio.sleep(0.3)


class QueueWorker:
    """Runs jobs and schedules until `stop` is set."""

    def __init__(
        self,
        connections: QueueConnections,
        database: Database,
        jobs: Sequence[Job],
        schedules: Sequence[Schedule],
        *,
        grace: float = GRACE_SECONDS,
        lane: QueueLane = USUAL,
    ) -> None:
        """`connections`: shared by the lanes of a process. `grace`: seconds that running jobs get when the
        worker stops, before the process is ended. `lane`: the lane whose jobs the worker takes."""
        self._connections = connections
        self._database = database
        self._starts = JobStarts(database)
        self._jobs = [job for job in jobs if job.lane == lane]
        self._lane = lane
        self._schedules = schedules
        self._grace = grace
        self._process = secrets.token_hex(8)

    async def run(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop` is set; then wait for running jobs, for the grace period at most.

        Ends the process with EXIT_WITH_RUNNING_JOBS when jobs still run after that. Errors of a session are
        logged, and another session begins.
        """
        async with self._shown():
            while not stop.is_set():
                try:
                    await self._session(stop)
                except Exception as error:  # noqa: BLE001 - the worker outlives every session
                    # PgQueuer groups the errors of its tasks; after any of them a new session begins.
                    if _is_outage(error):
                        OUTAGES.tell(_log, "worker.session_lost", error)
                    else:
                        _log.warning("worker.session_failed", error=repr(error), exc_info=error)
                if not stop.is_set():
                    await asyncio.sleep(0.3)

    @asynccontextmanager
    async def _shown(self) -> AsyncGenerator[None]:
        """Count this process as a worker during the block; only its usual lane does so."""
        if self._lane != USUAL:
            yield
            return
        seen = asyncio.create_task(self._tell_we_are_here(), name="worker-seen")
        try:
            yield
        finally:
            seen.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await seen
            with contextlib.suppress(Unavailable, asyncpg.PostgresError):
                async with self._database.acquire() as connection:
                    await connection.execute(GONE, self._process)

    async def _session(self, stop: asyncio.Event) -> None:
        """Run the lane's queue until `stop` is set; raises when its connections are lost."""
        await self._starts.take_back()  # another worker may be the one that starts these jobs again
        async with self._connections.session() as driver:
            queue = self._register(driver)
            # Without schedules, PgQueuer's scheduler would ask the database for due ones every second.
            run = queue.run if self._schedules else queue.qm.run
            running = asyncio.create_task(
                run(
                    # Lanes that look for jobs at the same moment would each need a connection.
                    dequeue_timeout=_DEQUEUE * random.uniform(0.9, 1.1),  # noqa: S311 - no secret
                    heartbeat_timeout=_HEARTBEAT,
                    batch_size=min(_BATCH, self._lane.at_once // 2),
                    max_concurrent_tasks=self._lane.at_once,
                    shutdown_on_listener_failure=True,
                )
            )
            stopping, ending = (asyncio.create_task(each.wait()) for each in (stop, queue.shutdown))
            await asyncio.wait({running, stopping, ending}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            ending.cancel()
            if stop.is_set():
                queue.shutdown.set()
                done, _ = await asyncio.wait({running}, timeout=self._grace)
                if not done:
                    for handler in logging.getLogger().handlers:  # os._exit flushes nothing
                        handler.flush()
                    os._exit(EXIT_WITH_RUNNING_JOBS)
            else:
                await _cancel_jobs(running)
            await running

    def _register(self, driver: Driver) -> PgQueuer:
        patient = queries(driver, _PatientQueries)
        queue = PgQueuer(driver, channel=QUEUE_CHANNEL, queries=patient)
        patient.session_ends = queue.shutdown
        for job in self._jobs:
            queue.entrypoint(job.entrypoint, concurrency_limit=job.concurrency, on_failure="hold")(
                self._runner(job)
            )
        for place, schedule in enumerate(self._schedules):
            run = _scheduled(schedule, place * _APART_SECONDS)
            queue.schedule(schedule.name, schedule.expression, clean_old=True)(run)
        return queue

    def _runner(self, job: Job) -> Any:  # noqa: ANN401 - PgQueuer's own callable type
        decoder = msgspec.json.Decoder(job.payload)

        async def run(queued: QueuedJob) -> None:
            try:
                await self._run_in_turn(job, queued, decoder)
            except _OUTAGES as error:
                # The count of PgQueuer's retries has no bound, as an outage has none.
                delay = min(2.0 ** min(queued.attempts, 10), _LONGEST_OUTAGE_DELAY)
                raise RetryRequested(timedelta(seconds=delay), reason=str(error)) from error

        return run

    async def _run_in_turn(self, job: Job, queued: QueuedJob, decoder: msgspec.json.Decoder[Any]) -> None:
        """Raises RetryRequested when the job's turn does not come in time."""
        if job.turn is None:
            return await self._run_job(job, queued, decoder)
        try:
            async with job.turn(decoder.decode(queued.payload or b"{}")):
                await self._run_job(job, queued, decoder)
        except NoRoom as error:
            async with self._database.acquire() as connection:
                await connection.execute(PUT_BEHIND, queued.id)
            raise RetryRequested(_OUT_OF_TURN, reason="Its turn did not come.") from error

    async def _run_job(self, job: Job, queued: QueuedJob, decoder: msgspec.json.Decoder[Any]) -> None:
        """Raises RetryRequested when the job failed and has tries left, or may not start."""
        if job.max_starts is not None:
            await self._count_start(job.entrypoint, queued.id, job.max_starts)
        try:
            async with asyncio.timeout(job.time_limit.total_seconds()):
                await job.handler(decoder.decode(queued.payload or b"{}"))
        except (*_OUTAGES, asyncio.CancelledError) as error:
            tell_fault(_log, "job.stopped", error, entrypoint=job.entrypoint, job=queued.id)
            self._starts.survive(queued.id)
            raise
        except Exception as error:
            _log.warning("job.failed", entrypoint=job.entrypoint, job=queued.id, error=repr(error))
            failures = await self._starts.fail(queued.id)
            if failures < job.attempts:
                delay = min(2.0 ** (failures - 1), _LONGEST_DELAY)
                raise RetryRequested(timedelta(seconds=delay), reason=str(error)) from error
            await self._starts.forget(queued.id)
            raise
        await self._starts.forget(queued.id)

    async def _count_start(self, entrypoint: str, job_id: int, most: int) -> None:
        try:
            await self._starts.begin(job_id, most)
        except TooEarly as error:
            raise RetryRequested(error.delay, reason=str(error)) from error
        except PoisonedJob as error:
            _log.warning("job.failed", entrypoint=entrypoint, job=job_id, error=repr(error))
            await self._starts.forget(job_id)  # an operator who queues it again begins anew
            raise

    async def _tell_we_are_here(self) -> None:
        while True:
            try:
                async with self._database.acquire() as connection:
                    await connection.execute(SEEN, self._process)
            except (Unavailable, asyncpg.PostgresError) as error:  # even a full disk is temporary
                OUTAGES.tell(_log, "worker.not_seen", error)
            await asyncio.sleep(_SEEN_EVERY_SECONDS)


def _is_outage(error: BaseException) -> bool:
    """Whether the error, or each error of a group, says that the database is away."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(_is_outage(each) for each in group.exceptions)
    return isinstance(error, (Unavailable, asyncpg.PostgresError, *DATABASE_AWAY))


async def _cancel_jobs(session: asyncio.Task[None]) -> None:
    """Let a session that has lost the database end; cancel its jobs if some still run after a second.

    No job begins before the session's end, and a job may run for hours. A cancelled job stays in the queue.
    Raises ConnectionResetError if jobs were cancelled.
    """
    await asyncio.wait({session}, timeout=1)
    while not session.done():
        session.cancel()
        await asyncio.wait({session}, timeout=10)
    if session.cancelled():
        raise ConnectionResetError("the queue lost the database, and its running jobs were cancelled")


def _scheduled(schedule: Schedule, delay: float) -> Any:  # noqa: ANN401 - PgQueuer's own callable type
    async def run(_: QueuedSchedule) -> None:
        await asyncio.sleep(delay)
        try:
            async with asyncio.timeout(schedule.time_limit.total_seconds()):
                await schedule.handler()
        except Exception as error:  # noqa: BLE001 - the next round tries again
            tell_fault(_log, "schedule.failed", error, schedule=schedule.name)

    return run
