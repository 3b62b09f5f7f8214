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
# The files that take longest, the longest first; those of `make test-deep` come before those of `make test`.
LONG = (
    "faults/test_random_kills.py",
    "faults/test_webhook_kills.py",
    "stateful/test_machine.py",
    "transcription/test_crashes.py",
    "cli/test_demo.py",
    "hosting/test_tree.py",
    "faults/test_crash_points.py",
    "hosting/test_roles.py",
    "transcription/test_work.py",
    "commands/test_machine.py",
    "cli/test_backup.py",
    "cli/test_audit.py",
    "transcription/test_local.py",
    "mcp/test_hostile.py",
    "stateful/test_fleet.py",
    "foundation/queue/test_retries.py",
    "evaluation/test_runs.py",
    "simulate/test_fleet.py",
    "faults/test_revocation.py",
    "conformance/test_embedded_limits.py",
    "transcription/test_places.py",
    "transcription/test_resume.py",
    "contract/test_authorization.py",
    "contract/test_schemathesis.py",
    "cli/test_commands.py",
    "transcription/models/process/test_engine.py",
    "contract/test_erasure_races.py",
    "conformance/test_client.py",
    "webhooks/delivery/test_fan_out.py",
    "webhooks/delivery/test_delivery.py",
    "webhooks/delivery/test_plans.py",
    "simulate/test_command.py",
    "cli/test_transcribe.py",
    "cli/test_erase.py",
    "cli/test_output.py",
    "simulate/test_encrypted.py",
    "faults/test_outages.py",
    "firmware/test_crash_points.py",
    "foundation/identity/test_key_cache.py",
    "transcription/audio/test_decoder.py",
    "hosting/test_listener.py",
    "embedded/postgres/test_supervisor.py",
    "contract/test_rate_limits.py",
    "contract/test_audit_belongings.py",
    "firmware/test_rollouts.py",
    "transcription/providers/test_cli.py",
    "transcription/models/weights/test_download.py",
    "transcription/models/speakers/test_voices.py",
    "transcription/test_long_exports.py",
    "transcription/test_remote_copies.py",
    "foundation/database/turns/test_world_shares.py",
    "cli/test_first_key.py",
    "cli/test_listen.py",
    "hostile/test_commands.py",
    "system/test_routes.py",
    "embeddings/test_passages.py",
    "conformance/test_embedded_tls.py",
    "contract/test_unchanged.py",
    "contract/test_hostile.py",
    "search/test_search.py",
    "lost_answers/test_uploads.py",
    "encrypted_uploads/publication/test_crash_points.py",
    "webhooks/delivery/test_workers.py",
    "erasure/test_erasure.py",
    "erasure/test_holds.py",
    "cli/test_logs_tail.py",
)
# Each test of these files may run in another process, if `make test-deep` gives tests out: they share little.
APART = (
    "tests/contract/test_schemathesis.py",
    "tests/faults/test_crash_points.py",
    "tests/simulate/test_encrypted.py",
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


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files come first, so that no process works at the end while others have nothing."""
    find_constants(config)
    items.sort(key=lambda item: PLACES.get(_file(item), len(PLACES)))
    if getattr(config.option, "loadgroup", False):
        for item in items:
            if _file(item) not in APART and item.get_closest_marker("xdist_group") is None:
                item.add_marker(pytest.mark.xdist_group(_file(item)))
    twice = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"several tests have one id, and xdist would run one of them: {twice}")


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def pytest_collection_finish() -> None:
    """What stays to the end need not be looked at by every collection of garbage, and few are needed.

    So does what garbage there is by now: to look for it takes half a second in each test process.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
