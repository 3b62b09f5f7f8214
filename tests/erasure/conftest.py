"""A server of their own: a worker runs only where a test asks for it; the others do its rounds themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.recordings.support import Device
from tests.support.running import Running, running_apart, working
from tests.support.tenants import Tenant


@pytest.fixture(scope="session")
async def live(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Running]:
    """The server of the tests of erasure."""
    async with running_apart(postgres, tmp_path_factory, "erasure") as started:
        yield started


@pytest.fixture
async def worker(live: Running) -> AsyncGenerator[None]:
    """A worker for the length of one test."""
    async with working(live):
        yield


@pytest.fixture
def device(client: httpx.AsyncClient, tenant: Tenant) -> Device:
    """Somebody with a secret key of the test world."""
    return Device(client, tenant, tenant.headers)
