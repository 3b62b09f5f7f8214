"""Two API processes on one database: a tail at one, requests at the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.logs.support import Pair
from tests.support.client import api_client
from tests.support.running import Running, running
from tests.support.tenants import Tenant


@pytest.fixture(scope="module")
async def second(live: Running, module_folder: Path) -> AsyncGenerator[Running]:
    """Another server on the database of the shared one."""
    async with running(module_folder / "second", live.ports.database.dsn) as started:
        yield started


@pytest.fixture
async def pair(live: Running, second: Running, tenant: Tenant) -> AsyncGenerator[Pair]:
    """The two servers, with a project of the test's own."""
    async with api_client(live.url) as of_one, api_client(second.url) as client:
        yield Pair(live, second, of_one, client, tenant)
