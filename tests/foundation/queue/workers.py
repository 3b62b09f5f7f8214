"""A worker of a test's own, and waiting for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from lapel.foundation.database.pool import Database
from lapel.foundation.queue.jobs import USUAL, Job, QueueLane, Schedule
from lapel.foundation.queue.queue_connections import QueueConnections
from lapel.foundation.queue.queue_worker import QueueWorker
from tests.support.patience import patience


class Payload(msgspec.Struct):
    """What the jobs of these tests carry."""

    word: str


@asynccontextmanager
async def worker(
    database: Database,
    *jobs: Job,
    schedules: tuple[Schedule, ...] = (),
    lane: QueueLane = USUAL,
) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    made = QueueWorker(QueueConnections(database.dsn), database, jobs, schedules, grace=60, lane=lane)
    running = asyncio.create_task(made.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with patience(seconds):
        while not await condition():  # noqa: ASYNC110 - the other side is a database
            await asyncio.sleep(0.02)


async def count(database: Database, sql: str, *arguments: object) -> int:
    async with database.acquire() as connection:
        return await connection.fetchval(sql, *arguments)
