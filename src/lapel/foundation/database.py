"""PostgreSQL through asyncpg, plain SQL.

The pool's reset query is off (a quarter of the hot call's time), so nothing may leave
session state behind: no `SET`, no session locks, no temporary tables, no `LISTEN` here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from asyncpg.exceptions import InternalClientError

from lapel.foundation.errors import Unavailable

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]

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

ACQUIRE_SECONDS = 3.0
COMMAND_SECONDS = 15.0

# With the database away, asyncpg tells of every retry with a traceback; /health says it once.
logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)


class PooledConnection(asyncpg.Connection):
    """A connection that is given back without a round trip."""

    def get_reset_query(self) -> str:
        """Nothing to reset: see the module's docstring."""
        return ""


class Database:
    """The pool, and what to say when the database is away."""

    def __init__(self, dsn: str, *, min_size: int = 2, max_size: int = 10) -> None:
        self._dsn = dsn
        self._min_size = min_size
        self._max_size = max_size
        self._pool: Pool | None = None

    @property
    def dsn(self) -> str:
        """Where it is; for connections outside the pool (LISTEN)."""
        return self._dsn

    async def open(self) -> None:
        """Make the pool. Raises what asyncpg raises when the database is not there."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=self._min_size,
            max_size=self._max_size,
            connection_class=PooledConnection,
            timeout=ACQUIRE_SECONDS,
            command_timeout=COMMAND_SECONDS,
            max_inactive_connection_lifetime=300,
            server_settings={
                "application_name": "lapel",
                "statement_timeout": "15000",
                "lock_timeout": "10000",
                "idle_in_transaction_session_timeout": "60000",
                "hnsw.iterative_scan": "strict_order",
            },
            init=_register_json,
        )

    async def close(self) -> None:
        """Give all connections back; those still busy after a second are cut."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            await _close_within(pool, 1.0)
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[Connection]:
        """A connection outside a transaction. Raises Unavailable when the database is away."""
        if self._pool is None:
            raise Unavailable("The database is not open.")
        try:
            connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
        except DATABASE_AWAY as error:
            raise Unavailable("The database does not answer. Repeat the request.") from error
        try:
            yield connection  # pyright: ignore[reportReturnType] - a proxy with the connection's methods
        except DATABASE_AWAY as error:
            raise Unavailable("The database went away. Repeat the request.") from error
        finally:
            await _release(self._pool, connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection inside a transaction that commits at the end of the block."""
        async with self.acquire() as connection, connection.transaction():
            yield connection


async def _release(pool: Pool | None, connection: object) -> None:
    """Give a connection back. One that died is dropped by the pool itself, so errors end here."""
    if pool is None:
        return
    try:
        await pool.release(connection)  # type: ignore[arg-type]
    except DATABASE_AWAY:
        return


async def _close_within(pool: Pool, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await pool.close()


async def _register_json(connection: Connection) -> None:
    """jsonb travels as text that msgspec wrote and reads; see `foundation/jsonb.py`."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str, format="text")


def affected(command_tag: str) -> int:
    """How many rows a command touched, from its tag (`UPDATE 3`)."""
    return int(command_tag.rpartition(" ")[2])
