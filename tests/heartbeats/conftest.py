"""What tests of heartbeats begin with."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from tests.heartbeats.support import Timed, Worn, worn
from tests.support.client import api_client
from tests.support.running import running
from tests.support.tenants import Tenant, make_tenant


@pytest.fixture
async def device(client: httpx.AsyncClient, ports: Ports, tenant: Tenant) -> Worn:
    """A device that somebody wears."""
    return await worn(client, ports, tenant)


@pytest.fixture
async def timed(fresh_database: str, tmp_path: Path) -> AsyncGenerator[Timed]:
    """A device on a server of its own, whose clock the test turns."""
    clock = ManualClock(datetime.now(UTC).replace(microsecond=0))
    async with (
        running(tmp_path / "timed", fresh_database, clock=clock) as live,
        api_client(live.url) as client,
    ):
        yield Timed(await worn(client, live.ports, await make_tenant(live.ports)), clock, live)
