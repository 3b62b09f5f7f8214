"""Bringing a system to rest: everything that is due within the next days runs now."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lapel import app
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import open_ports
from lapel.hosting.worker import work
from lapel.settings import Settings
from tests.support.patience import patience

if TYPE_CHECKING:
    from lapel.foundation.database.pool import Connection

# A URL lives for an hour, pending media for 24 h more, and unclaimed objects are swept a day after that.
AHEAD = timedelta(days=3)
ROUNDS = 3
PATIENCE = 60.0
# Jobs, and the rows of erased events: a worker that finds them locked by another one looks again in a second.
LEFT = """
SELECT (SELECT count(*) FROM jobs.pgqueuer WHERE status <> 'failed')
    + (SELECT count(*) FROM events WHERE erased)
"""


async def come_to_rest(settings: Settings) -> None:
    """Runs the queue empty, and removes erased events; then, with the clock `AHEAD` of now, runs every
    schedule ROUNDS times.

    Failed jobs that are held stay, for the checker to find.
    """
    clock = ManualClock(datetime.now(UTC))
    async with open_ports(settings, clock=clock) as ports, ports.database.acquire() as connection:
        services, stop = app.open_services(ports), asyncio.Event()
        working = asyncio.create_task(
            work(services, services.worker_parts(), stop, grace=60, scheduled=False)
        )
        try:
            await empty(connection)
            clock.advance(AHEAD)
            for _ in range(ROUNDS):
                for schedule in services.schedules():  # made once the worker has its parts
                    await schedule.handler()
                    # On a clock that is days ahead a copy looks old as soon as it is made, so no job that
                    # makes copies may run during the sweep.
                    await empty(connection)
                clock.advance(AHEAD)
        finally:
            stop.set()
            await working


async def empty(connection: Connection) -> None:
    """Wait until others have emptied the queue and removed erased events; failed jobs that are held stay."""
    left = -1
    async with patience(PATIENCE, lambda: left):
        while left := await connection.fetchval(LEFT):  # noqa: ASYNC110 - other processes empty it
            await asyncio.sleep(0.05)
