"""PostgreSQL through asyncpg, plain SQL.

A connection that comes back without an error is lent again as it is, because asyncpg's reset query took a
quarter of the time of the most frequent request. So no code may leave session state on a connection: no
`SET`, no session locks, no temporary tables, no `LISTEN`. The reset query runs when a connection goes back to
asyncpg's pool, as after an error: asyncpg may have prepared a statement that it did not execute, and
PostgreSQL's timeout of that statement would end a later use of the connection.

Source: "Iterative Index Scans" in the README of pgvector.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import structlog
from asyncpg.exceptions import InternalClientError

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.connection import PooledConnection, behind_pooler, prepare
from lapel.foundation.database.own_connection import OwnConnection
from lapel.foundation.database.time_limits import LOCK_SECONDS, is_refusal_of_pooler, limits
from lapel.foundation.database.turns.fair_semaphore import FairSemaphore
from lapel.foundation.database.turns.world_shares import WorldShares
from lapel.foundation.outages import OUTAGES

if TYPE_CHECKING:
    from types import TracebackType

    from lapel.foundation.database.connection import Connection

    Pool = asyncpg.Pool[asyncpg.Record]
    PoolConnectionProxy = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

# Errors of asyncpg while the database restarts, is unavailable, only reads, or does not answer in time.
DATABASE_AWAY: tuple[type[BaseException], ...] = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.InterfaceError,
    InternalClientError,
    OSError,
    TimeoutError,
)
# Which of these comes first, PostgreSQL's own limit or asyncpg's, is chance.
_TIMED_OUT = (asyncpg.QueryCanceledError, TimeoutError)

# The most connections of a pool: in a worker or a command, and in an API process. There one world gets half
# of them: eight. With five for a world, the database's answers to one busy project arrive one at a time, each
# in its own turn of the event loop, and a request costs more CPU.
CONNECTIONS = 10
API_CONNECTIONS = 16
ACQUIRE_SECONDS = 3.0
COMMAND_SECONDS = 15.0
IDLE_SECONDS = 30.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# While the database is unavailable, asyncpg logs every retry with a traceback; /health reports it once.
logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)


class StatementTimedOut(Unavailable):
    """The database answers, but not this statement in time; the cause may be what the statement reads."""


class ConnectionBroken(Unavailable):
    """The connection could not be made, or it broke: what may be repeated may use another one."""


class Database:
    """The pool of connections; errors of an unavailable database become Unavailable."""

    def __init__(
        self,
        dsn: str,
        *,
        min_size: int = 1,
        max_size: int = CONNECTIONS,
        lock_seconds: float = LOCK_SECONDS,
        pooled: bool = False,
    ) -> None:
        """`max_size`: the most connections; one world gets half of them at most. `lock_seconds`: seconds that
        a statement waits for a row that another transaction holds. `pooled`: `dsn` names a pooler of
        transactions."""
        self._pooled = pooled
        self._dsn = dsn
        self._lock_seconds = lock_seconds
        self._min_size = min_size
        self._max_size = max_size
        self._connections: _Connections | None = None
        self._own = OwnConnection(dsn)

    @property
    def own(self) -> OwnConnection:
        """The connection of /health when the pool is full, because that must not wait behind requests.

        Raises Unavailable when the pool is not open.
        """
        if self._connections is None:
            raise Unavailable("The database is not open.")
        return self._own

    @property
    def is_full(self) -> bool:
        """Whether every connection of the pool is lent."""
        return self._connections is not None and self._connections.is_full

    @property
    def dsn(self) -> str:
        """The connection string, for connections outside the pool (LISTEN)."""
        return self._dsn

    async def open(self, *, patience: float = 0.0) -> None:
        """Make the pool. While the database is unavailable, try again for `patience` seconds.

        Raises asyncpg's own error (one of DATABASE_AWAY) when the database is still unavailable after that.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                await self._open()
            except DATABASE_AWAY as error:
                if time.monotonic() >= deadline or is_refusal_of_pooler(error):
                    raise
                OUTAGES.tell(_log, "database.awaited", error)
                await asyncio.sleep(0.2)
            else:
                return

    async def _open(self) -> None:
        pool = await asyncpg.create_pool(
            self._dsn,
            min_size=self._min_size,
            max_size=self._max_size,
            connection_class=behind_pooler(self._lock_seconds) if self._pooled else PooledConnection,
            timeout=ACQUIRE_SECONDS,
            command_timeout=COMMAND_SECONDS,
            max_inactive_connection_lifetime=IDLE_SECONDS,
            server_settings={"application_name": "lapel"}
            | ({} if self._pooled else limits(self._lock_seconds)),
            init=prepare,
        )
        self._connections = _Connections(pool, self._max_size)

    async def close(self) -> None:
        """Close all connections; those still busy after a second are terminated."""
        self._own.close()
        if self._connections is None:
            return
        connections, self._connections = self._connections, None
        try:
            async with asyncio.timeout(1.0):
                await connections.close()
        except TimeoutError:
            connections.terminate()

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """A connection outside a transaction.

        Raises Unavailable: at once when the pool is not open; on entering the block when no connection
        becomes free in time, or none can be made, and then as ConnectionBroken; on leaving the block when the
        database failed during it, as StatementTimedOut if a statement took too long, else as
        ConnectionBroken.
        """
        if self._connections is None:
            raise Unavailable("The database is not open.")
        return _Lease(self._connections)

    def acquire_for_all(self) -> AbstractAsyncContextManager[Connection]:
        """`acquire` for a statement that answers callers of several worlds: it counts for no world's share.

        Use it only for statements that take a few milliseconds.
        """
        if self._connections is None:
            raise Unavailable("The database is not open.")
        return _Lease(self._connections, for_all=True)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside a transaction that commits at the end of the block.

        Raises Unavailable as `acquire` does.
        """
        async with self.acquire() as connection, connection.transaction():
            yield connection


class _Connections:
    """Lends the pool's connections in the order of requests, and keeps connections that come back without an
    error.

    asyncpg's pool makes the connections and cleans up after errors. But acquiring from that pool and
    releasing to it cost more than a statement (timers, tasks), and in its queue other callers may overtake a
    caller without end. So a connection goes back to that pool only after an error, or when it was unused for
    a while.
    """

    def __init__(self, pool: Pool, places: int) -> None:
        self._pool = pool
        self._turnstile = FairSemaphore(places, ACQUIRE_SECONDS)
        self._shares = WorldShares(places, ACQUIRE_SECONDS)
        self._at_hand: deque[tuple[float, PoolConnectionProxy]] = deque()
        self._closing = False

    @property
    def is_full(self) -> bool:
        """Whether every place is taken."""
        return self._turnstile.is_full

    async def take(self, *, for_all: bool) -> tuple[PoolConnectionProxy, int | None]:
        """A connection, and the world against whose share it counts; the caller must call `give_back` later.

        `for_all`: it counts for no world. Raises one of DATABASE_AWAY when the database is unavailable, or no
        connection is free in time, and another asyncpg.PostgresError when it refuses new connections.
        """
        share = None if for_all else await self._shares.enter()
        try:
            if not self._turnstile.try_enter():
                await self._turnstile.enter()
        except BaseException:
            self._shares.leave(share)
            raise
        try:
            while self._at_hand:
                _, connection = self._at_hand.pop()
                if _alive(connection):
                    return connection, share
                await self._release(connection)
            return await self._pool.acquire(), share
        except BaseException:
            self._turnstile.leave()
            self._shares.leave(share)
            raise

    async def give_back(
        self, connection: PoolConnectionProxy, share: int | None, error: BaseException | None
    ) -> None:
        """Take a connection back. `error`: what ended its use. `share`: the world that `take` returned."""
        try:
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError) and _alive(connection):
                # It leads to a standby, and may do so for as long as it is open: a proxy that now leads to
                # the primary may have left it as it is.
                connection.terminate()
            if error is not None or self._closing or not _alive(connection) or connection.is_in_transaction():
                await self._release(connection)
                return
            now = time.monotonic()
            self._at_hand.append((now, connection))
            if self._at_hand[0][0] < now - IDLE_SECONDS:
                # To reset it takes a round trip, for which this caller would wait.
                self._at_hand.popleft()[1].terminate()
        finally:
            self._turnstile.leave()
            self._shares.leave(share)

    async def close(self) -> None:
        """Close all connections, waiting for those that are lent."""
        self._closing = True
        while self._at_hand:
            await self._release(self._at_hand.pop()[1])
        await self._pool.close()

    def terminate(self) -> None:
        """Terminate all connections."""
        self._pool.terminate()

    async def _release(self, connection: PoolConnectionProxy) -> None:
        """Return a connection to the pool, which first cancels its statement and resets it; waits 3 seconds
        at most."""
        try:
            await self._pool.release(connection, timeout=ACQUIRE_SECONDS)
        except (*DATABASE_AWAY, asyncpg.PostgresError):
            return  # the pool drops a connection that died


class _Lease:
    """One connection for one `async with` block."""

    __slots__ = ("_connection", "_connections", "_for_all", "_share")

    def __init__(self, connections: _Connections, *, for_all: bool = False) -> None:
        self._connections = connections
        self._for_all = for_all

    async def __aenter__(self) -> Connection:
        try:
            self._connection, self._share = await self._connections.take(for_all=self._for_all)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            # The last one: the user, the password or the name is refused.
            OUTAGES.tell(_log, "database.away", error)
            kind = Unavailable if isinstance(error, TimeoutError) else ConnectionBroken
            raise kind("The database does not answer. Repeat the request.") from error
        return self._connection  # pyright: ignore[reportReturnType] - a proxy with the connection's methods

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.give_back(self._connection, self._share, error)
        if isinstance(error, DATABASE_AWAY):
            OUTAGES.tell(_log, "database.away", error)
            if isinstance(error, _TIMED_OUT):
                raise StatementTimedOut("The database did not answer in time. Repeat the request.") from error
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                raise ConnectionBroken("The database accepts no writes now. Repeat the request.") from error
            raise ConnectionBroken("The connection to the database broke. Repeat the request.") from error


def _alive(connection: PoolConnectionProxy) -> bool:
    """Whether the connection is open, as far as this process knows."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it died, and the pool has taken it back
        return False


def affected(command_tag: str) -> int:
    """The number of rows that a command changed, from its tag (`UPDATE 3`)."""
    return int(command_tag.rpartition(" ")[2])
