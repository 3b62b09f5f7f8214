"""Jobs on PgQueuer: enqueued inside the caller's transaction, run by any worker.

A job may run twice (if its worker is killed at the job's end), so every handler must be idempotent.

Source: the documentation of PgQueuer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from lapel.foundation.queue.queue_queries import WORKERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from lapel.foundation.database.connection import Connection

    JobHandler: TypeAlias = Callable[..., Awaitable[None]]
    Turn: TypeAlias = Callable[..., AbstractAsyncContextManager[object]]


# PgQueuer's own statement is for lists, and importing PgQueuer takes a tenth of a second.
ENQUEUE = """
WITH queued AS (
    INSERT INTO jobs.pgqueuer (priority, entrypoint, payload, execute_after, dedupe_key, headers, status)
    VALUES (0, $1::text, $2, now() + $3::interval, $4, 'null'::jsonb, 'queued')
    ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL DO NOTHING
    RETURNING id
)
INSERT INTO jobs.pgqueuer_log (job_id, status, entrypoint, priority)
SELECT id, 'queued', $1, 0 FROM queued
RETURNING job_id
"""


def jobs_in_queue(entrypoint: str) -> str:
    """SQL for slices: how many jobs of an entrypoint (an expression) are queued and may begin now."""
    return f"""(
    SELECT count(*) FROM jobs.pgqueuer j
    WHERE j.entrypoint = {entrypoint} AND j.status = 'queued' AND j.execute_after <= now()
)"""  # noqa: S608 - an expression in our own SQL


@dataclass(frozen=True, slots=True)
class QueueLane:
    """Each worker process runs a lane's jobs independently of other lanes, `at_once` of them at a time."""

    name: str
    at_once: int


USUAL = QueueLane("usual", 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A kind of background work.

    `handler` gets the decoded payload. A try that takes longer than `time_limit` is stopped. A job that fails
    is tried up to `attempts` times, with backoff; then the job is held, counted in /metrics and shown by
    `lapel doctor`. Outages of the database or the store use up no tries. A job whose worker was killed
    starts less and less often, and is held, too, after `max_starts` starts; None: never, for a job that makes
    a worker do steps, which count their own starts. `concurrency` is the number of jobs that run at once over
    all workers (0: no bound). The jobs of one `lane` share a worker's places, so long work of one lane does
    not delay short work of another. `turn` gets the payload and returns a context manager, in which the job
    runs. If `turn` raises NoRoom, the job goes to the end of the queue; this does not count as a try.
    """

    entrypoint: str
    payload: type[msgspec.Struct]
    handler: JobHandler
    time_limit: timedelta = timedelta(minutes=5)
    attempts: int = 8
    max_starts: int | None = 20
    concurrency: int = 0
    lane: QueueLane = USUAL
    turn: Turn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Work that repeats: `expression` is cron, with seconds as an optional sixth field."""

    name: str
    expression: str
    handler: Callable[[], Awaitable[object]]
    time_limit: timedelta = timedelta(minutes=10)


async def count_workers(connection: Connection) -> int:
    """Number of workers that were seen in the last 30 seconds."""
    return await connection.fetchval(WORKERS)


async def enqueue(
    connection: Connection,
    entrypoint: str,
    payload: msgspec.Struct,
    *,
    dedupe: str | None = None,
    after: timedelta | None = None,
) -> bool:
    """Enqueue one job in the connection's transaction; the job runs after the commit.

    With `dedupe`, the job is dropped if a job of this entrypoint with the same `dedupe` is still waiting or
    running. `after` delays the job. Returns whether the job was enqueued.
    """
    key = f"{entrypoint}:{dedupe}" if dedupe else None
    job_id = await connection.fetchval(
        ENQUEUE, entrypoint, msgspec.json.encode(payload), after or timedelta(), key
    )
    return job_id is not None
