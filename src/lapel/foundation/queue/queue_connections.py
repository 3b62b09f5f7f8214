"""The connections of a worker to its queue.

All lanes share a pool and one connection that listens. A connection costs PostgreSQL three megabytes, and a
managed PostgreSQL has few.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from pgqueuer.db import AsyncpgPoolDriver

from lapel.foundation.database.connection import PooledConnection
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.queue.queue_statements import QUEUE_CHANNEL, know_status

if TYPE_CHECKING:
    from typing import Self

    from pgqueuer.ports.driver import NotifyCallback

    from lapel.foundation.database.pool import Pool

# One of them listens. PgQueuer's statements take a few milliseconds, so few connections serve many lanes.
_MOST_CONNECTIONS = 3
_IDLE_SECONDS = 10.0


class QueueConnection(PooledConnection):
    """A connection that returns to its pool without a round trip: PgQueuer's statements leave no state.

    A statement that was prepared and not executed ends with the next one. It has no `statement_timeout`,
    which would end the next one too.
    """

    def get_reset_query(self) -> str:
        """Reset nothing."""
        return ""


class QueueConnections:
    """Connections for sessions of PgQueuer, which run at the same time.

    After a session fails, new sessions get new connections. Other sessions keep the old ones, which are
    closed after the last of these sessions.
    """

    def __init__(self, dsn: str) -> None:
        """`dsn`: a database in which LISTEN works, so not one behind a pooler of transactions."""
        self._dsn = dsn
        self._newest: _Shared | None = None
        self._opening: asyncio.Task[_Shared] | None = None

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[SessionDriver]:
        """The driver of one session; an error that leaves the block counts as a failure of the session.

        Raises asyncpg's errors and OSError when the connections cannot be made.
        """
        shared = await self._usable()
        shared.sessions += 1
        driver = SessionDriver(shared.pool, shared.listener)
        try:
            yield driver
        except BaseException:
            shared.has_failed = True
            raise
        finally:
            shared.sessions -= 1
            if shared.sessions:
                await driver.stop_listening()
            else:
                if self._newest is shared:
                    self._newest = None
                await shared.close()

    async def _usable(self) -> _Shared:
        """The newest connections. Sessions that begin together wait for one attempt to make them, and get its
        error."""
        while self._newest is None or self._newest.has_failed:
            if self._opening is None:
                self._opening = asyncio.create_task(_Shared.open(self._dsn), name="queue connections")
                self._opening.add_done_callback(self._opened)
            await asyncio.shield(self._opening)
        return self._newest

    def _opened(self, opening: asyncio.Task[_Shared]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._newest = opening.result()


class SessionDriver(AsyncpgPoolDriver):
    """PgQueuer's driver of one session, on the shared pool. It listens on the shared connection."""

    def __init__(self, pool: Pool, listener: AsyncpgPoolDriver) -> None:
        super().__init__(pool)
        self._listener = listener
        self._listening: list[tuple[str, NotifyCallback]] = []

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Call `callback` with the payloads of a channel's notifications. Raises asyncpg's errors."""
        await self._listener.add_listener(channel, callback)
        self._listening.append((channel, callback))

    async def remove_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Call `callback` no more. Raises asyncpg's errors."""
        await self._listener.remove_listener(channel, callback)

    async def stop_listening(self) -> None:
        """Call no callback of this session again."""
        for channel, callback in self._listening:
            with contextlib.suppress(*DATABASE_AWAY, asyncpg.PostgresError):
                await self.remove_listener(channel, callback)


class _Shared:
    """A pool and its listening connection, and how many sessions use them."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.listener = AsyncpgPoolDriver(pool)
        self.sessions = 0
        self.has_failed = False

    @classmethod
    async def open(cls, dsn: str) -> Self:
        """Raises asyncpg's errors and OSError."""
        pool = await asyncpg.create_pool(
            dsn,
            min_size=2,
            max_size=_MOST_CONNECTIONS,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            connection_class=QueueConnection,
            timeout=3,
            command_timeout=15,
            server_settings={"application_name": "lapel", "statement_timeout": "0"},
            init=know_status,
        )
        made = cls(pool)
        try:
            # It listens before PgQueuer does and as long as the pool is open. PgQueuer sends its first probe
            # while it is about to LISTEN; a probe that comes before LISTEN is lost, and the session would end
            # after ten seconds.
            await made.listener.add_listener(QUEUE_CHANNEL, _ignore)
        except BaseException:
            pool.terminate()
            raise
        return made

    async def close(self) -> None:
        """Close the connections; those still busy after a second are terminated."""
        try:
            async with asyncio.timeout(1):
                async with self.listener:  # its end gives back the connection that listens
                    pass
                await self.pool.close()
        except (TimeoutError, *DATABASE_AWAY):
            pass
        finally:
            self.pool.terminate()


def _ignore(_: str | bytes | bytearray) -> None:
    """Nothing: PgQueuer's own listener takes the notification."""
