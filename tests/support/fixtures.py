"""Fixtures for everything: one PostgreSQL a test process, one running server, a fresh project per test."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Generator
from itertools import count
from pathlib import Path

import httpx
import pytest
import structlog

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.foundation.ports import Ports
from lapel.process_environment import unknown_variables_here
from tests.support.client import api_client
from tests.support.event_check import check_events
from tests.support.installation import Installation, shared_installation
from tests.support.memory import folder_in_memory
from tests.support.postgres import create_database, drop_database, start_postgres
from tests.support.running import Running, running_apart
from tests.support.tenants import Tenant, make_tenant

_numbers = count(1)


def pytest_collection_finish() -> None:
    """Tests have read by now how much they draw. What they start gets none of these variables: Lapel warns of
    each variable that is no setting."""
    for name in unknown_variables_here():
        del os.environ[name]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Generator[EmbeddedPostgres]:
    """A real PostgreSQL, with the database `template` migrated to the newest schema."""
    with folder_in_memory(tmp_path_factory.mktemp("postgres")) as folder:
        server = start_postgres(folder)
        try:
            migrations.upgrade(create_database(server, "template"))
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A folder in memory that the tests of a file share."""
    with folder_in_memory(tmp_path_factory.mktemp("module")) as folder:
        yield folder


@pytest.fixture
def quick_folder(tmp_path: Path) -> Generator[Path]:
    """An empty folder in which every fsync is free."""
    with folder_in_memory(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An installation to be copied, for tests that are not about a first start."""
    return shared_installation(tmp_path_factory)


@pytest.fixture
def fresh_database(postgres: EmbeddedPostgres) -> Generator[str]:
    """The URL of a migrated database of the test's own."""
    name = f"fresh_{next(_numbers)}"
    yield create_database(postgres, name, "template")
    drop_database(postgres, name)


@pytest.fixture(scope="session")
async def live(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Running]:
    """The server most tests share; they keep apart by having a project each."""
    async with running_apart(postgres, tmp_path_factory, "shared") as started:
        yield started
    await check_events(started.ports.database.dsn)


@pytest.fixture(autouse=True)
def logs_as_before() -> Generator[None]:
    """No test leaves the logs as a command or a server sets them up: later tests could not read theirs."""
    yield
    changed = isinstance(structlog.get_config()["logger_factory"], structlog.stdlib.LoggerFactory)
    structlog.reset_defaults()
    assert not changed, "the test has set up the logs of its own process, and left them so"


@pytest.fixture
def ports(live: Running) -> Ports:
    """The shared server's ports."""
    return live.ports


@pytest.fixture
async def client(live: Running) -> AsyncGenerator[httpx.AsyncClient]:
    """HTTP to the shared server, without credentials of its own."""
    async with api_client(live.url) as opened:
        yield opened


@pytest.fixture
async def tenant(ports: Ports) -> Tenant:
    """A project of the test's own."""
    return await make_tenant(ports)


@pytest.fixture
async def stranger(ports: Ports) -> Tenant:
    """Another project, which must never see or touch the first one."""
    return await make_tenant(ports)


@pytest.fixture
def data_folder(tmp_path: Path) -> Callable[[str], Path]:
    """Folders below the test's own."""
    return lambda name: tmp_path / name
