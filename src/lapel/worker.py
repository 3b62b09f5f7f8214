"""The worker process: jobs and schedules of all slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel import app
from lapel.foundation.kit import RESTART_PATIENCE, open_kit
from lapel.foundation.queue_worker import QueueWorker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from lapel.settings import Settings


async def run_worker(settings: Settings, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Work until `stop` is set. Calls `ready` once the first connections stand."""
    async with open_kit(settings, patience=RESTART_PATIENCE) as kit:
        parts = app.slices(kit)
        dsn = settings.listen_database_url or kit.database.dsn
        worker = QueueWorker(dsn, kit.database, kit.clock, app.jobs(parts), app.schedules(kit, parts))
        ready()
        await worker.run(stop)
