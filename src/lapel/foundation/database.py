"""PostgreSQL through asyncpg, plain SQL.

The pool's reset query is off (a quarter of the hot call's time), so nothing may leave
session state behind: no `SET`, no session locks, no temporary tables, no `LISTEN` here.
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

from lapel.foundation.errors import Unavailable
from lapel.foundation.own_connection import OwnConnection
from lapel.foundation.turnstile import Turnstile
from lapel.foundation.world_shares import WorldShares

if TYPE_CHECKING:
    from types import TracebackType

    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
    PoolConnectionProxy = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

# What asyncpg raises while the database restarts, is gone, or does not answer in time.
DATABASE_AWAY: tuple[type[BaseException], ...] = (
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

CONNECTIONS = 10
ACQUIRE_SECONDS = 3.0
COMMAND_SECONDS = 15.0
IDLE_SECONDS = 300.0
LOCK_SECONDS = 10.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# With the database away, asyncpg tells of every retry with a traceback; /health says it once.
logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)


class PooledConnection(asyncpg.Connection):
    """A connection that is given back without a round trip."""

    def get_reset_query(self) -> str:
        """Nothing to reset: see the module's docstring."""
        return ""


class Database:
    """The pool, and what to say when the database is away."""

    def __init__(
        self, dsn: str, *, min_size: int = 2, max_size: int = CONNECTIONS, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        """`max_size`: connections at most, of which one world has half. `lock_seconds`: how long a statement
        waits for a row that another transaction holds."""
        self._dsn = dsn
        self._lock_seconds = lock_seconds
        self._min_size = min_size
        self._max_size = max_size
        self._connections: _Connections | None = None
        self._own = OwnConnection(dsn)

    @property
    def own(self) -> OwnConnection:
        """A connection for health, which must not wait behind requests. Raises Unavailable unless open."""
        if self._connections is None:
            raise Unavailable("The database is not open.")
        return self._own

    @property
    def dsn(self) -> str:
        """Where it is; for connections outside the pool (LISTEN)."""
        return self._dsn

    async def open(self, *, patience: float = 0.0) -> None:
        """Make the pool; a database that is away may take `patience` seconds to come.

        Raises what asyncpg raises when the database is not there.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                await self._open()
            except DATABASE_AWAY as error:
                if time.monotonic() >= deadline:
                    raise
                _log.warning("database.awaited", error=type(error).__name__)
                await asyncio.sleep(0.2)
            else:
                return

    async def _open(self) -> None:
        pool = await asyncpg.create_pool(
            self._dsn,
            min_size=self._min_size,
            max_size=self._max_size,
            connection_class=PooledConnection,
            timeout=ACQUIRE_SECONDS,
            command_timeout=COMMAND_SECONDS,
            max_inactive_connection_lifetime=IDLE_SECONDS,
            server_settings={
                "application_name": "lapel",
                "statement_timeout": "15000",
                "lock_timeout": str(round(self._lock_seconds * 1000)),
                "idle_in_transaction_session_timeout": "60000",
                "hnsw.iterative_scan": "strict_order",
            },
            init=_register_json,
        )
        self._connections = _Connections(pool, self._max_size)

    async def close(self) -> None:
        """Give all connections back; those still busy after a second are cut."""
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
        """A connection outside a transaction. Raises Unavailable when the database is away."""
        if self._connections is None:
            raise Unavailable("The database is not open.")
        return _Lease(self._connections)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside a transaction that commits at the end of the block."""
        async with self.acquire() as connection, connection.transaction():
            yield connection


class _Connections:
    """Lends the pool's connections in the order of asking, and keeps those that come back clean at hand.

    The pool makes them and cleans up after errors. What it does on every way in and out besides
    (timers, tasks, a line in which who waits may be overtaken for ever) costs more than a
    statement, so a connection only goes back to it after an error, or unused for a while.
    """

    def __init__(self, pool: Pool, places: int) -> None:
        self._pool = pool
        self._turnstile = Turnstile(places, ACQUIRE_SECONDS)
        self._shares = WorldShares(places, ACQUIRE_SECONDS)
        self._at_hand: deque[tuple[float, PoolConnectionProxy]] = deque()
        self._closing = False

    async def take(self) -> tuple[PoolConnectionProxy, int | None]:
        """A connection, and the world whose share it is of; `give_back` must follow.

        Raises one of DATABASE_AWAY.
        """
        share = await self._shares.enter()
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

    async def give_back(self, connection: PoolConnectionProxy, share: int | None, *, failed: bool) -> None:
        """Take a connection back, after an error (`failed`) or without; `share`: as `take` gave it."""
        try:
            if failed or self._closing or not _alive(connection) or connection.is_in_transaction():
                await self._release(connection)
                return
            now = time.monotonic()
            self._at_hand.append((now, connection))
            if self._at_hand[0][0] < now - IDLE_SECONDS:
                await self._release(self._at_hand.popleft()[1])
        finally:
            self._turnstile.leave()
            self._shares.leave(share)

    async def close(self) -> None:
        """Close them all, waiting for those that are lent."""
        self._closing = True
        while self._at_hand:
            await self._release(self._at_hand.pop()[1])
        await self._pool.close()

    def terminate(self) -> None:
        """Cut them all."""
        self._pool.terminate()

    async def _release(self, connection: PoolConnectionProxy) -> None:
        """To the pool, which first cancels what still runs: that may take its time, within limits."""
        try:
            await self._pool.release(connection, timeout=ACQUIRE_SECONDS)
        except DATABASE_AWAY:
            return  # the pool drops a connection that died


class _Lease:
    """One connection for one `async with` block."""

    __slots__ = ("_connection", "_connections", "_share")

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections

    async def __aenter__(self) -> Connection:
        try:
            self._connection, self._share = await self._connections.take()
        except DATABASE_AWAY as error:
            raise Unavailable("The database does not answer. Repeat the request.") from error
        return self._connection  # pyright: ignore[reportReturnType] - a proxy with the connection's methods

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.give_back(self._connection, self._share, failed=error is not None)
        if isinstance(error, DATABASE_AWAY):
            raise Unavailable("The database went away. Repeat the request.") from error


def _alive(connection: PoolConnectionProxy) -> bool:
    """Whether the connection is open, as far as is known."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it died, and the pool has taken it back
        return False


async def _register_json(connection: Connection) -> None:
    """jsonb travels as text that msgspec wrote and reads; see `foundation/wire.py`."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str, format="text")


def affected(command_tag: str) -> int:
    """How many rows a command touched, from its tag (`UPDATE 3`)."""
    return int(command_tag.rpartition(" ")[2])
