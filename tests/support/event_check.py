"""Reads the events that tests have caused, as a receiver of webhooks would."""

from __future__ import annotations

import asyncpg

from tests.support.strict.events import check_event

# Events that a test wrote itself do not have ids of this form.
EVENTS = "SELECT body FROM events WHERE length(id) = 28"


async def check_events(database_url: str) -> None:
    """Raises AssertionError for the first event of a database that breaks the contract."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            async for row in connection.cursor(EVENTS):
                check_event(row["body"])
    finally:
        await connection.close()
