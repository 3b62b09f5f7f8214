"""One database connection outside the pool, for health: it must not wait behind requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import asyncpg
from asyncpg.exceptions import InternalClientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lapel.foundation.database.connection import Connection

T = TypeVar("T")

# What asyncpg raises on a connection that ended since it was used last; InternalClientError, when the
# server's reason comes in while a statement is being sent.
_ENDED = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    OSError,
    InternalClientError,
)


class OwnConnection:
    """Made when it is first needed, and anew after an error; one caller uses it at a time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do some work on the connection; once more on a new one if the connection turns out to have ended.

        The caller limits the time. Raises what asyncpg raises.
        """
        async with self._lock:
            if self._connection is not None and not self._connection.is_closed():
                try:
                    return await work(self._connection)
                except _ENDED:
                    pass  # the database was restarted since; a new connection tells whether it is there now
                except BaseException:
                    self._drop()
                    raise
            self._drop()
            self._connection = await asyncpg.connect(self._dsn)
            try:
                return await work(self._connection)
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        """Cut it, without waiting for a database that may be away."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def close(self) -> None:
        """Cut it for good."""
        self._drop()
