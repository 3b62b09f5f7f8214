"""The worker process: jobs and schedules of all slices."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from lapel import app
from lapel.foundation.ports import RESTART_PATIENCE, open_ports
from lapel.foundation.queue.jobs import USUAL
from lapel.foundation.queue.queue_connections import QueueConnections
from lapel.foundation.queue.queue_worker import GRACE_SECONDS, QueueWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from lapel.foundation.ports import Ports
    from lapel.foundation.slices import Services, WorkerPart
    from lapel.settings import Settings


async def run_worker(
    settings: Settings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    listen: Callable[[Ports], Coroutine[None, None, None]] | None = None,
) -> None:
    """Work until `stop` is set. Calls `ready` once the connections are open and the worker's parts are made.

    `listen` answers requests about the process until `stop` is set.

    Raises StoreUnavailable when there are no store credentials, asyncpg's errors when the database cannot be
    reached, and ImportError when a library that the worker needs is missing; `ready` is not called then.
    """
    async with open_ports(settings, patience=RESTART_PATIENCE) as ports:
        services = app.open_services(ports)
        parts = services.worker_parts()
        ready()
        try:
            async with asyncio.TaskGroup() as group:
                if listen is not None:
                    group.create_task(listen(ports), name="listener")
                await work(services, parts, stop)
        finally:
            await services.aclose()


async def work(
    services: Services,
    parts: Sequence[WorkerPart],
    stop: asyncio.Event,
    *,
    grace: float = GRACE_SECONDS,
    scheduled: bool = True,
) -> None:
    """Run jobs, and with `scheduled` the schedules, until `stop` is set; then stop the parts of the worker.

    `parts`: what `services.worker_parts()` made. Every part that was started is stopped, also when another
    part does not start or a QueueWorker fails. `grace`: seconds that running jobs get to end after `stop`.
    """
    ports = services.ports
    connections = QueueConnections(ports.settings.listen_database_url or ports.database.dsn)
    jobs = services.jobs()
    schedules = services.schedules() if scheduled else ()
    lines = (
        QueueWorker(
            connections,
            ports.database,
            jobs,
            schedules if lane == USUAL else (),
            grace=grace,
            lane=lane,
        )
        for lane in (USUAL, *(lane for each in services.slices for lane in each.lanes))
    )
    async with AsyncExitStack() as started:
        for part in parts:
            await part.start()
            started.push_async_callback(part.stop)
        async with asyncio.TaskGroup() as group:
            for line in lines:
                group.create_task(line.run(stop))
            await stop.wait()
            await started.aclose()  # while jobs are still running
