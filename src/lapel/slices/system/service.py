"""Checks the parts that the server needs: health and readiness."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeVar

import asyncpg
import msgspec

from lapel import __version__
from lapel.foundation.build_info import commit
from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.connection import check_accepts_writes
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.database.schema.schema_version import SCHEMA_FOUND, SchemaFound, newest_revision
from lapel.foundation.http.calls import Reply
from lapel.foundation.queue.jobs import count_workers
from lapel.foundation.queue.queue_queries import QUEUE_REACHABLE
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.slices.system.wire import Health, Migrations, Readiness

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports

PROBE_SECONDS = 2.0
AWAY = (Unavailable, asyncpg.PostgresError, *DATABASE_AWAY)
"""The errors that a probe gets if the database does not answer."""

# A name that no object can have. A HEAD request for this name shows whether the store answers.
_NOWHERE = "health/nothing-is-ever-stored-here"
_State = TypeVar("_State", bound=msgspec.Struct)


class Probe:
    """Checks the parts. Simultaneous checks of the database share one query, outside the pool."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._asking: asyncio.Task[bool] | None = None

    async def database(self) -> bool:
        """Whether the database answers in time, and accepts writes."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_database(), name="health")
        return await asyncio.shield(self._asking)

    async def _ask_database(self) -> bool:
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

    async def queue(self) -> Literal["running", "no_worker", "disconnected"]:
        """Whether the queue can be reached, and whether a worker runs."""

        async def look(connection: Connection) -> int:
            await connection.fetchval(QUEUE_REACHABLE)
            return await count_workers(connection)

        try:
            async with asyncio.timeout(PROBE_SECONDS):
                workers = await self._ports.database.own.run(look)
        except AWAY:
            return "disconnected"
        return "running" if workers else "no_worker"

    async def schema(self) -> SchemaFound | None:
        """The schema of the database; None when it cannot be read."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                row = await self._ports.database.own.run(lambda each: each.fetchrow(SCHEMA_FOUND))
        except AWAY:
            return None
        return None if row is None else SchemaFound(*row)

    async def health(self) -> Reply[Health]:
        """Whether this server can work; 503 when it cannot."""
        if await self.database():
            return Reply(Health("healthy", "connected"))
        return _unavailable(Health("unhealthy", "disconnected"))

    async def readiness(self) -> Reply[Readiness]:
        """The state of every part; 503 when no request can be served."""
        database, store, queue, schema = await asyncio.gather(
            self.database(), self.store(), self.queue(), self.schema()
        )
        serves = database and schema is not None and schema.serves
        whole = serves and store and queue == "running"
        body = Readiness(
            status="ready" if whole else "degraded" if serves else "unready",
            database="connected" if database else "disconnected",
            store="connected" if store else "disconnected",
            queue=queue,
            migrations=Migrations(None if schema is None else schema.revision, newest_revision()),
            version=__version__,
            commit=commit(),
        )
        return Reply(body) if serves else _unavailable(body)


def _unavailable(body: _State) -> Reply[_State]:
    return Reply(body, HTTPStatus.SERVICE_UNAVAILABLE, (("Retry-After", "1"),))
