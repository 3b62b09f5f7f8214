"""Checks the parts that the server needs: health and readiness."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import asyncpg
import msgspec

from lapel import __version__
from lapel.foundation.build_info import commit
from lapel.foundation.core.disk_guard import DiskGuard
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.connection import check_accepts_writes
from lapel.foundation.database.pool import DATABASE_AWAY, ConnectionBroken
from lapel.foundation.database.schema.schema_version import SCHEMA_FOUND, SchemaFound, newest_revision
from lapel.foundation.http.calls import Reply
from lapel.foundation.queue.jobs import count_workers
from lapel.foundation.queue.queue_queries import QUEUE_REACHABLE
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.slices.system.shared_look import PROBE_SECONDS, SharedLook
from lapel.slices.system.wire import Health, Migrations, Readiness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.slices.system.wire import DiskState, QueueState

AWAY = (Unavailable, asyncpg.PostgresError, *DATABASE_AWAY)
"""The errors that a probe gets if the database does not answer."""

# A name that no object can have. A HEAD request for this name shows whether the store answers.
_NOWHERE = "health/nothing-is-ever-stored-here"
_TRIES, _PAUSE_SECONDS = 4, 0.05
_T = TypeVar("_T")
_State = TypeVar("_State", bound=msgspec.Struct)


class _Parts(NamedTuple):
    """What the database tells, and whether it accepts new connections."""

    answers: bool
    accepts_connections: bool
    queue: QueueState
    schema: SchemaFound | None


class Probe:
    """Checks the parts. Simultaneous checks share one, because anybody may ask for them.

    The database is asked through the pool that requests use. If requests hold every connection of the pool,
    it is asked outside of it, so that a check does not wait behind them.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._asking = SharedLook(self._ask_database, "health")
        # Each part has its own limit of time, and the parts of the database come one after the other.
        self._looking = SharedLook(self._look, "readiness", seconds=None)
        settings = ports.settings
        self._store_disk = (
            DiskGuard(settings.data_dir / "objects", settings.min_free_bytes, part=1.0)
            if settings.uses_embedded_store
            else None
        )

    async def database(self) -> bool:
        """Whether the database answers requests in time, and accepts writes."""
        try:
            return await self._asking.get()
        except TimeoutError:
            return False

    async def _ask_database(self) -> bool:
        try:
            await self._ask(check_accepts_writes)
        except AWAY:
            return False
        return True

    async def _ask(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """The result of `work` on a connection as requests get one. Raises one of AWAY."""
        database = self._ports.database
        async with asyncio.timeout(PROBE_SECONDS):
            if database.is_full:
                with suppress(*AWAY):
                    return await database.own.run(work)
            for _ in range(_TRIES):
                # A connection may have broken unnoticed. If none can be made, a request may return its own.
                with suppress(ConnectionBroken):
                    async with database.acquire_for_all() as connection:
                        return await work(connection)
                await asyncio.sleep(_PAUSE_SECONDS)
            async with database.acquire_for_all() as connection:
                return await work(connection)

    async def _accepts_connections(self) -> bool:
        """Whether the database accepted a new connection within the last seconds."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._ports.database.own.run(check_accepts_writes)
        except AWAY:
            return False
        return True

    async def store(self) -> bool:
        """Whether the store answers in time and accepts our credentials."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._ports.store.head(_NOWHERE)
        except ObjectMissing:
            return True
        except (StoreUnavailable, TimeoutError):
            return False
        return True

    async def queue(self) -> QueueState:
        """Whether the queue can be reached, and whether a worker runs."""

        async def look(connection: Connection) -> int:
            await connection.fetchval(QUEUE_REACHABLE)
            return await count_workers(connection)

        try:
            workers = await self._ask(look)
        except AWAY:
            return "disconnected"
        return "running" if workers else "no_worker"

    async def schema(self) -> SchemaFound | None:
        """The schema of the database; None when it cannot be read."""
        try:
            row = await self._ask(lambda each: each.fetchrow(SCHEMA_FOUND))
        except AWAY:
            return None
        return None if row is None else SchemaFound(*row)

    async def _look(self) -> tuple[_Parts, bool]:
        """What the database tells, and whether the store answers."""
        return await asyncio.gather(self._look_at_database(), self.store())

    async def _look_at_database(self) -> _Parts:
        answers, accepts = await asyncio.gather(self.database(), self._accepts_connections())
        if not answers:
            return _Parts(answers, accepts, "disconnected", None)
        # One after the other: a check uses one connection of the pool.
        return _Parts(answers, accepts, await self.queue(), await self.schema())

    def disk(self) -> DiskState:
        """What is refused because the disk of this machine is nearly full."""
        database_disk = self._ports.disk
        if database_disk is not None and database_disk.low():
            return "writes_refused"
        if self._store_disk is not None and self._store_disk.low():
            return "uploads_refused"
        return "ok"

    async def health(self) -> Reply[Health]:
        """Whether this server can work; 503 when it cannot."""
        if await self.database():
            return Reply(Health("healthy", "connected"))
        return _unavailable(Health("unhealthy", "disconnected"))

    async def readiness(self) -> Reply[Readiness]:
        """The state of every part; 503 when the database serves no request."""
        parts, store = await self._looking.get()
        schema, disk = parts.schema, self.disk()
        serves = parts.answers and schema is not None and schema.serves
        whole = serves and store and parts.accepts_connections and parts.queue == "running" and disk == "ok"
        body = Readiness(
            status="ready" if whole else "degraded" if serves else "unready",
            database="disconnected"
            if not parts.answers
            else "connected"
            if parts.accepts_connections
            else "no_new_connections",
            store="connected" if store else "disconnected",
            queue=parts.queue,
            disk=disk,
            migrations=Migrations(None if schema is None else schema.revision, newest_revision()),
            version=__version__,
            commit=commit(),
        )
        return Reply(body) if serves else _unavailable(body)


def _unavailable(body: _State) -> Reply[_State]:
    return Reply(body, HTTPStatus.SERVICE_UNAVAILABLE, (("Retry-After", "1"),))
