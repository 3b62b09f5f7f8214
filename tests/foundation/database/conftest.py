"""A database with few connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest_asyncio

from lapel.foundation.database.pool import Database


@pytest_asyncio.fixture
async def database(fresh_database: str) -> AsyncGenerator[Database]:
    made = Database(fresh_database, min_size=0, max_size=4)
    await made.open()
    yield made
    await made.close()
