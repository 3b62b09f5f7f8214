"""Fixtures of the tests of summaries."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from lapel.foundation.ports import Ports
from tests.summaries.support import Desk, desk_of
from tests.support.tenants import Tenant


@pytest.fixture
async def desk(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> AsyncGenerator[Desk]:
    """A client with the tenant's secret key, and a worker that makes summaries when the test says so."""
    opened = desk_of(client, tenant, ports)
    # The worker would take what another test has left, before what this test asks for.
    async with ports.database.acquire() as connection:
        await connection.execute("UPDATE summary_work SET available_at = now() + interval '1 day'")
    yield opened
    await opened.runner.stop()
