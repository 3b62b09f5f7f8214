"""A connection that listens on a channel, and connects again after an outage.

Notifications may be lost during an outage, so a listener also looks at the tables: `on_message` is called
with an empty payload after each connect.

Source: PostgreSQL's documentation of LISTEN and NOTIFY.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.outages import OUTAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.database.connection import Connection

_AGAIN_SECONDS = 1.0
# A lost connection is detected after about this many seconds.
_PROBE_SECONDS = 30.0
# Tests a connection that only listens.
PROBE = "SELECT 1"

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def listen(dsn: str, channel: str, on_message: Callable[[str], None]) -> None:
    """Call `on_message` with the payload of each notification, and with "" after each connect.

    Runs until it is cancelled.
    """
    while True:
        try:
            await _listen_once(dsn, channel, on_message)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            OUTAGES.tell(_log, "database.listen_lost", error, channel=channel)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _listen_once(dsn: str, channel: str, on_message: Callable[[str], None]) -> None:
    connection: Connection = await asyncpg.connect(dsn, timeout=5, command_timeout=5)
    ended = asyncio.Event()

    def told(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        on_message(str(payload))

    try:
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(channel, told)
        on_message("")  # for what happened before this connection listened
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_SECONDS):
                    await ended.wait()
            if not ended.is_set():
                await connection.execute(PROBE)
    finally:
        with contextlib.suppress(*DATABASE_AWAY, asyncpg.PostgresError):
            await connection.close(timeout=1)


async def woken(wake: asyncio.Event, until: float) -> None:
    """Wait for a wake, but no longer than `until`: the loop's time, in seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await wake.wait()
