"""API and worker as separate processes that start fast: forked from one that has imported everything.

They run `lapel.hosting.child`, as the children of `lapel serve` do, with settings from the environment.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import asyncpg

from lapel import app
from lapel.foundation.core import crash_points
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import open_ports
from lapel.hosting import child
from lapel.hosting.children import Role
from lapel.settings import Settings
from tests.support.forks import FORKS, end_with_parent, nothing, start, status, take_environment

CRASHED = 70
# As if some seconds had passed since every worker died: what they held is free. Nothing here waits for that.
END_LEASES = """
UPDATE jobs.pgqueuer SET heartbeat = now() - interval '1 minute' WHERE status = 'picked';
UPDATE speech_work SET available_at = now() WHERE lease IS NOT NULL;
UPDATE summary_work SET available_at = now() WHERE lease IS NOT NULL;
UPDATE webhook_deliveries SET leased_until = NULL WHERE state = 'pending';
"""


def _run(
    role: Role, environment: Mapping[str, str], listener: socket.socket | None, before: Callable[[], object]
) -> None:
    """In the new process: run `lapel.hosting.child`."""
    end_with_parent()
    before()
    take_environment({name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")})
    os.environ.update(environment)
    if listener is not None:
        os.environ["LAPEL_LISTEN_FD"] = str(listener.detach())
    child.run(role)


class Process:
    """A process of one role; started again whenever it dies, until `stop`.

    A worker that dies at a crash point must be the only worker of its database: the next one takes its work
    at once.
    """

    def __init__(
        self,
        role: Role,
        settings: Settings,
        crash: str | None,
        listener: socket.socket | None,
        before: Callable[[], object],
    ) -> None:
        self.exits: list[int | None] = []
        self._role = role
        self._database_url = settings.database_url
        self._environment = settings.to_env() | ({"LAPEL_CRASH": crash} if crash else {})
        self._listener = listener
        self._before = before
        self._process: ForkServerProcess | None = None
        self._stopping = False

    async def keep(self) -> None:
        """Start, wait for the end, start again."""
        while not self._stopping:
            started = FORKS.Process(
                target=_run,
                args=(self._role, self._environment, self._listener, self._before),
                daemon=True,
            )
            await asyncio.to_thread(start, started)
            self._process = started
            if self._stopping:  # `stop` was called while the process was starting
                started.kill()
            self.exits.append(await asyncio.to_thread(status, started))
            if self._role == "worker" and self.exits[-1] == CRASHED:
                await self._end_leases()

    async def _end_leases(self) -> None:
        connection = await asyncpg.connect(self._database_url)
        try:
            await connection.execute(END_LEASES)
        finally:
            await connection.close()

    def stop(self) -> None:
        """End it for good."""
        self._stopping = True
        if self._process is not None:
            self._process.kill()

    def kill(self) -> None:
        """End it by SIGKILL; it is started again, and what it held is free when its leases end."""
        assert self._process is not None
        self._process.kill()

    @property
    def crashes(self) -> int:
        """How often it ended at a crash point."""
        return self.exits.count(CRASHED)


@asynccontextmanager
async def process(
    role: Role,
    settings: Settings,
    *,
    crash: str | None = None,
    listener: socket.socket | None = None,
    before: Callable[[], object] = nothing,
) -> AsyncGenerator[Process]:
    """A role's process during a block. `listener` stays open over restarts.

    `crash`: what `armed` or `instructions` gives. `before`: a function of a module, or a partial of one,
    which each new process calls first.
    """
    kept = Process(role, settings, crash, listener, before)
    task = asyncio.create_task(kept.keep())
    try:
        yield kept
    finally:
        kept.stop()
        await task


def _errand(environment: Mapping[str, str], ahead: timedelta) -> None:
    crash_points.arm(environment["LAPEL_CRASH"])
    asyncio.run(run_schedules(Settings.from_env(environment), ahead))


async def run_schedules(settings: Settings, ahead: timedelta) -> None:
    """Runs every schedule once, on a clock that is `ahead` of now."""
    async with open_ports(settings, clock=ManualClock(datetime.now(UTC) + ahead)) as ports:
        services = app.open_services(ports)
        services.worker_parts()
        for schedule in services.schedules():
            await schedule.handler()


async def errand(settings: Settings, crash: str, ahead: timedelta) -> int | None:
    """`run_schedules` in a process with a crash point armed; gives its exit status."""
    forked = FORKS.Process(target=_errand, args=(settings.to_env() | {"LAPEL_CRASH": crash}, ahead))
    await asyncio.to_thread(start, forked)
    return await asyncio.to_thread(status, forked)


def armed(folder: Path, point: str) -> tuple[str, Path]:
    """A crash instruction that works once, and its marker file, which is removed by the crash."""
    marker = _marker(folder, point)
    marker.touch()
    return f"{point}@{marker}", marker


def instructions(folder: Path, points: Iterable[str]) -> str:
    """Crash instructions for one process after the other: at each point one ends after `armed` names it."""
    return ";".join(f"{point}@{_marker(folder, point)}" for point in points)


def _marker(folder: Path, point: str) -> Path:
    return folder / point.replace(":", "-")
