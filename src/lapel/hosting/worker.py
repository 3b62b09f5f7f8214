"""The worker process: jobs and schedules of all slices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lapel import app
from lapel.foundation.ports import RESTART_PATIENCE, open_ports
from lapel.foundation.queue.jobs import USUAL
from lapel.foundation.queue.queue_worker import GRACE_SECONDS, QueueWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.slices import Services
    from lapel.settings import Settings


async def run_worker(settings: Settings, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Work until `stop` is set. Calls `ready` once the first connections are open.

    Raises StoreUnavailable when there are no store credentials, and asyncpg's errors when the database cannot
    be reached.
    """
    async with open_ports(settings, patience=RESTART_PATIENCE) as ports:
        services = app.open_services(ports)
        ready()
        await work(services, stop)


async def work(
    services: Services, stop: asyncio.Event, *, grace: float = GRACE_SECONDS, scheduled: bool = True
) -> None:
    """Run jobs, and with `scheduled` the schedules, until `stop` is set; then stop the parts of the worker.

    `grace`: seconds that running jobs get to end after `stop`.
    """
    ports, parts = services.ports, services.worker_parts()
    dsn = ports.settings.listen_database_url or ports.database.dsn
    jobs = services.jobs()
    schedules = services.schedules() if scheduled else ()
    lines = (
        QueueWorker(
            dsn,
            ports.database,
            ports.clock,
            jobs,
            schedules if lane == USUAL else (),
            grace=grace,
            lane=lane,
        )
        for lane in (USUAL, *(lane for each in services.slices for lane in each.lanes))
    )
    for part in parts:
        await part.start()
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(line.run(stop))
        await stop.wait()
        for part in parts:
            await part.stop()
