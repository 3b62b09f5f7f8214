"""One database connection outside the pool, for /health, which must not wait behind requests.

It is made anew every few seconds, so that it also tells whether the database accepts new connections.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import asyncpg
from asyncpg.exceptions import InternalClientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.database.connection import Connection

T = TypeVar("T")

_LIFETIME_SECONDS = 10.0

# Errors of asyncpg on a connection that ended since its last use, or leads to a server that is a standby now.
# asyncpg raises InternalClientError when the server's reason arrives while a statement is being sent.
_ENDED = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    OSError,
    InternalClientError,
)


class OwnConnection:
    """A connection, opened at its first use, after an error, and when it is older than ten seconds.

    One caller uses it at a time.
    """

    def __init__(self, dsn: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: monotonic seconds."""
        self._dsn = dsn
        self._clock = clock
        self._connection: Connection | None = None
        self._made_at = 0.0
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` on the connection; if the connection is of no use any more, run `work` on a new one.

        The caller must limit the time. Raises asyncpg's errors.
        """
        async with self._lock:
            is_young = self._clock() - self._made_at < _LIFETIME_SECONDS
            if is_young and self._connection is not None and not self._connection.is_closed():
                try:
                    return await work(self._connection)
                except _ENDED:
                    pass  # the database restarted, or another is the primary now; a new connection shows that
                except BaseException:
                    self._drop()
                    raise
            self._drop()
            self._connection = await asyncpg.connect(self._dsn)
            self._made_at = self._clock()
            try:
                return await work(self._connection)
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        """Close the connection without waiting for a database that may be unavailable."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def close(self) -> None:
        """Close the connection; it is not opened again."""
        self._drop()
