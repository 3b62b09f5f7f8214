"""The database of these tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from lapel.foundation.database.pool import Database


@pytest.fixture
async def database(fresh_database: str) -> AsyncGenerator[Database]:
    opened = Database(fresh_database)
    await opened.open()
    yield opened
    await opened.close()
