"""A server of their own: a worker runs only where a test asks for it; the others do its rounds themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.recordings.support import Device
from tests.support.memory import folder_in_memory
from tests.support.postgres import create_database
from tests.support.running import Running, running, working
from tests.support.tenants import Tenant


@pytest.fixture(scope="session")
async def live(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Running]:
    """The server of the tests of erasure."""
    url = create_database(postgres, "erasure", "template")
    with folder_in_memory(tmp_path_factory.mktemp("erasure")) as folder:
        async with running(folder, url) as started:
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
