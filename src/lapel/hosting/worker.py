"""The worker process: jobs and schedules of all slices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel import app
from lapel.foundation.ports import RESTART_PATIENCE, open_ports
from lapel.foundation.queue.jobs import AT_ONCE
from lapel.foundation.queue.queue_worker import GRACE_SECONDS, QueueWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.app import Slices
    from lapel.foundation.ports import Ports
    from lapel.settings import Settings
    from lapel.slices.transcription.work.runner import Runner


async def run_worker(settings: Settings, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Work until `stop` is set. Calls `ready` once the first connections are open.

    Raises StoreUnavailable when there are no store credentials, and asyncpg's errors when the database cannot
    be reached.
    """
    async with open_ports(settings, patience=RESTART_PATIENCE) as ports:
        parts = app.slices(ports)
        runner = app.speech_runner(ports)
        ready()
        await work(ports, parts, runner, stop)


async def work(
    ports: Ports,
    parts: Slices,
    runner: Runner,
    stop: asyncio.Event,
    *,
    grace: float = GRACE_SECONDS,
    scheduled: bool = True,
) -> None:
    """Run jobs, and with `scheduled` the schedules, until `stop` is set; then stop the runner.

    `grace`: seconds that running jobs get to end after `stop`.
    """
    dsn = ports.settings.listen_database_url or ports.database.dsn
    jobs = app.jobs(parts, runner)
    schedules = app.schedules(ports, parts, runner) if scheduled else ()
    lines = (
        QueueWorker(
            dsn,
            ports.database,
            ports.clock,
            jobs,
            schedules if lane == "usual" else (),
            grace=grace,
            lane=lane,
        )
        for lane in AT_ONCE
    )
    await runner.start()
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(line.run(stop))
        await stop.wait()
        await runner.stop()
