"""A whole Lapel in this process, on real sockets: API and mounted store, real PostgreSQL, and a worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lapel import app
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import Clock
from lapel.foundation.http.deadline import Deadlines
from lapel.foundation.http.operations import Operation
from lapel.foundation.ports import Ports
from lapel.foundation.slices import Services, Slice
from lapel.hosting.api_server import Server
from lapel.hosting.connections.connection_limits import HttpLimits
from lapel.hosting.listener import serve
from lapel.hosting.sockets import listen
from lapel.hosting.worker import work
from lapel.settings import Settings
from tests.support.memory import folder_in_memory
from tests.support.patience import LONG, patience
from tests.support.postgres import create_database

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
SEEN = "SELECT EXISTS (SELECT 1 FROM workers)"


@dataclass(frozen=True, slots=True)
class Running:
    """The parts of a running server that tests use."""

    url: str
    settings: Settings
    server: Server
    ports: Ports
    services: Services
    # Set: the server begins to stop.
    stop: asyncio.Event

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation of the server."""
        return self.server.api.operations


def settings_for(data_dir: Path, database_url: str, port: int, **more: str) -> Settings:
    """Settings as `lapel serve` gives them to its children, with the store mounted in the API."""
    data_dir.mkdir(parents=True, exist_ok=True)
    return Settings.from_env(
        {
            "LAPEL_DATA_DIR": str(data_dir),
            "LAPEL_DATABASE_URL": database_url,
            "LAPEL_EMBEDDED_DATABASE": "on",
            "LAPEL_EMBEDDED_STORE": "on",
            "LAPEL_S3_ENDPOINT": f"http://127.0.0.1:{port}/store",
            "LAPEL_S3_ACCESS_KEY_ID": ACCESS_KEY,
            "LAPEL_S3_SECRET_ACCESS_KEY": SECRET_KEY,
            "LAPEL_SECRET": "a-secret-for-tests-that-is-long-enough",
            "LAPEL_PORT": str(port),
            "LAPEL_LANGUAGE_MODEL": "extractive",  # whatever is installed here
            **more,
        }
    )


@asynccontextmanager
async def running(
    data_dir: Path,
    database_url: str,
    slices: Sequence[Slice] = app.SLICES,
    /,
    *,
    clock: Clock | None = None,
    **more: str,
) -> AsyncGenerator[Running]:
    """Serve until the block ends. `more` are LAPEL_* variables.

    Unless they say how long an answer may take, it may take a minute: this process loads its own embedding
    model, which a busy machine does not do in nine seconds. In production, no request waits for that.
    """
    sockets = listen("127.0.0.1", int(more.get("LAPEL_PORT", "0")))
    port = sockets[0].getsockname()[1]
    settings = settings_for(data_dir, database_url, port, **more)
    stop, ready = asyncio.Event(), asyncio.Event()
    server = Server(settings, stop, clock=clock, slices=slices)
    limits = HttpLimits(
        settings.header_timeout, settings.body_timeout, settings.header_limit, lambda: f"req_{'refused':0<24}"
    )
    serving = asyncio.create_task(serve(server, sockets, limits, stop, ready=ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if serving.done():
        await serving
    assert server.ports is not None
    assert server.services is not None
    if "LAPEL_ANSWER_TIMEOUT" not in more:
        server.api._deadlines = Deadlines(60)
    try:
        yield Running(f"http://127.0.0.1:{port}", settings, server, server.ports, server.services, stop)
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def running_apart(
    postgres: EmbeddedPostgres,
    factory: pytest.TempPathFactory,
    name: str,
    /,
    *,
    clock: Clock | None = None,
) -> AsyncGenerator[Running]:
    """Serve, with a database and a folder in memory of its own, until the block ends."""
    url = create_database(postgres, name, "template")
    with folder_in_memory(factory.mktemp(name)) as folder:
        async with running(folder, url, clock=clock) as started:
            yield started


async def until_worker(live: Running) -> None:
    """Wait for a worker, in whatever process: before, the server refuses (503) what a worker must verify."""
    async with patience(LONG), live.ports.database.acquire() as connection:
        while not await connection.fetchval(SEEN):  # noqa: ASYNC110 - a worker tells nobody but the table
            await asyncio.sleep(0.05)


@asynccontextmanager
async def working(live: Running) -> AsyncGenerator[None]:
    """Runs a worker beside the server, in this process."""
    stop = asyncio.Event()
    # A long grace, for busy machines: when it ends, the worker ends its process, which is the tests' own
    # here.
    task = asyncio.create_task(work(live.services, live.services.worker_parts(), stop, grace=60))
    try:
        yield
    finally:
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task
