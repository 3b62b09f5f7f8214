"""Waiting until a request waits for a lock, to test what happens when two requests meet."""

from __future__ import annotations

import asyncio

from lapel.foundation.ports import Ports

WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def until_waiting(ports: Ports, count: int) -> None:
    """Returns once this many statements wait for a lock in the database."""
    for _ in range(1000):
        async with ports.database.acquire() as connection:
            if await connection.fetchval(WAITING) >= count:
                return
        await asyncio.sleep(0.01)
    raise AssertionError(f"no {count} statements came to wait for a lock")
