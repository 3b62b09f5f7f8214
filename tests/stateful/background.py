"""A whole server with a worker in a thread of its own, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lapel.foundation.core.clock import Clock
from tests.support.patience import LONG
from tests.support.running import Running, running, working
from tests.support.tenants import Tenant, make_tenant

T = TypeVar("T")
# The worker in the other thread rolls dice of its own (PgQueuer's timers) while an example is drawn.
rolls_dice = pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")


class Background:
    """The running server, and a way to run something in its loop."""

    def __init__(self, live: Running, loop: asyncio.AbstractEventLoop) -> None:
        self.live = live
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which runs in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def tenant(self) -> Tenant:
        """A fresh project."""
        return self.run(make_tenant(self.live.ports))

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Rows of the database."""

        async def fetch() -> list[tuple[Any, ...]]:
            async with self.live.ports.database.acquire() as connection:
                return [tuple(row.values()) for row in await connection.fetch(statement, *arguments)]

        return self.run(fetch())


@contextmanager
def background(
    folder: Path, database_url: str, *, clock: Clock | None = None, **settings: str
) -> Generator[Background]:
    """Serve and work until the block ends."""
    made = threading.Event()
    failure: list[BaseException] = []
    holder: list[tuple[Background, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        async with running(folder, database_url, clock=clock, **settings) as live, working(live):
            holder.append((Background(live, asyncio.get_running_loop()), stop))
            made.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            failure.append(error)
        finally:
            made.set()

    thread = threading.Thread(target=run, name="server under test")
    thread.start()
    made.wait(60)
    if failure:
        raise failure[0]
    served, stop = holder[0]
    try:
        yield served
    finally:
        served._loop.call_soon_threadsafe(stop.set)
        thread.join(LONG)
    if failure:
        raise failure[0]
