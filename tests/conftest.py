"""Fixtures for everything: one PostgreSQL a test process, one running server, a fresh project per test."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from itertools import count
from pathlib import Path

import httpx
import pytest
import structlog
from hypothesis import settings

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.foundation.ports import Ports
from tests.support.client import api_client
from tests.support.event_check import check_events
from tests.support.installation import Installation, shared_installation
from tests.support.memory import folder_in_memory
from tests.support.postgres import create_database, drop_database, start_postgres
from tests.support.running import Running, running
from tests.support.shares import compile_tests, find_constants
from tests.support.tenants import Tenant, make_tenant

_numbers = count(1)
FIXTURES = Path(__file__).parent / "fixtures"
# The files that take longest, the longest first.
LONG = (
    # These take minutes in `make test-deep`.
    "faults/test_random_kills.py",
    "faults/test_webhook_kills.py",
    "faults/test_crash_points.py",
    "hosting/test_tree.py",
    "transcription/test_crashes.py",
    "cli/test_demo.py",
    "contract/test_authorization.py",
    "contract/test_schemathesis.py",
    "transcription/test_work.py",
    "hosting/test_roles.py",
    "cli/test_commands.py",
    "contract/test_erasure_races.py",
    "transcription/test_local.py",
    "transcription/models/process/test_engine.py",
    "cli/test_backup.py",
    "stateful/test_machine.py",
    "cli/test_audit.py",
    "cli/test_erase.py",
    "conformance/test_client.py",
    "conformance/test_embedded_limits.py",
    "simulate/test_command.py",
    "contract/test_audit_belongings.py",
    "faults/test_outages.py",
    "webhooks/delivery/test_delivery.py",
    "embedded/postgres/test_supervisor.py",
    "simulate/test_fleet.py",
    "firmware/test_crash_points.py",
    "cli/test_listen.py",
    "cli/test_first_key.py",
    "webhooks/delivery/test_crash_points.py",
    "faults/test_revocation.py",
    "webhooks/test_plans.py",
    "hosting/test_listener.py",
    "contract/test_hostile.py",
    "erasure/test_reconciliation.py",
    "erasure/test_holds.py",
    "lost_answers/test_uploads.py",
    "heartbeats/test_plans.py",
    "erasure/test_erasure.py",
    "webhooks/delivery/test_failures.py",
    "contract/test_rate_limits.py",
    "stateful/test_fleet.py",
    "cli/test_logs_tail.py",
    "faults/test_planted.py",
    "faults/test_deadline.py",
    "transcription/audio/test_decoder.py",
)
LONGEST_NAME = 100
PLACES = {f"tests/{file}": place for place, file in enumerate(LONG)}

# How long an example takes is the machine's business.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")


def pytest_configure() -> None:
    """What runs in the background of a script ignores Ctrl-C, and what nohup runs a closed terminal; the
    programs that the tests start would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Tests that use it in their own process have it tell nobody; our programs see to that themselves.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # Each client of HTTP and S3 parses all authorities of the system, also for plain HTTP. No test calls a
    # host outside, so one authority is enough.
    os.environ["SSL_CERT_FILE"] = str(FIXTURES / "nobody.pem")
    os.environ["SSL_CERT_DIR"] = str(FIXTURES / "no-folder")
    # Several test processes share the cores: threads of a speech model that wait for work must not spin.
    os.environ["OMP_WAIT_POLICY"] = "passive"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names the case of a long text by its beginning and length: every test process sends all names."""
    if not isinstance(val, str | bytes) or len(val) <= LONGEST_NAME:
        return None
    beginning = val[:LONGEST_NAME]
    if isinstance(beginning, bytes):
        beginning = beginning.decode("latin-1")
    return f"{beginning}...{len(val)}"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Modules and cases stay to the end: a search for garbage among them finds next to none."""
    gc.disable()
    compile_tests(session.config)
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files come first, so that no process works at the end while others have nothing."""
    find_constants(config)
    items.sort(key=lambda item: PLACES.get(item.nodeid.partition("::")[0], len(PLACES)))
    twice = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"several tests have one id, and xdist would run one of them: {twice}")


def pytest_collection_finish() -> None:
    """What stays to the end need not be looked at by every collection of garbage, and few are needed.

    So does what garbage there is by now: to look for it takes half a second in each test process.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


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
    url = create_database(postgres, "shared", "template")
    with folder_in_memory(tmp_path_factory.mktemp("live")) as folder:
        async with running(folder, url) as started:
            yield started
    await check_events(url)


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
