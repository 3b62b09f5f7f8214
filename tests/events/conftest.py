"""Fixtures of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant

DELETE = "DELETE FROM events WHERE world_id = ANY($1)"


@pytest.fixture(autouse=True)
async def cleaned(ports: Ports, tenant: Tenant, stranger: Tenant) -> AsyncGenerator[None]:
    """Deletes the events after a test: their data is not that of real resources."""
    yield
    worlds = [each for one in (tenant, stranger) for each in (one.test_world, one.live_world)]
    async with ports.database.acquire() as connection:
        await connection.execute(DELETE, worlds)
