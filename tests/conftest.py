"""How tests are collected and run. Their fixtures are in tests/support/fixtures.py."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.shares import compile_tests, find_constants

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
    "evaluation/test_runs.py",
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
    "encrypted_uploads/publication/test_crash_points.py",
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

# How long an example takes is the machine's business. `make test-deep` draws more examples.
EXAMPLES = int(os.environ.get("LAPEL_PROPERTY_EXAMPLES", "30"))
settings.register_profile("ours", deadline=None, max_examples=EXAMPLES)
settings.load_profile("ours")


def pytest_configure(config: pytest.Config) -> None:
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
    # The process that gives tests to others runs none: it starts the others at once, and imports less.
    if config.getoption("dist", "no") == "no" or config.getoption("collectonly"):
        config.pluginmanager.import_plugin("tests.support.fixtures")


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
