"""What processes do not import: it would take longer than the work of a short command, and delay the API."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import lapel.app
from lapel.cli.commands import config, keys, projects, serve
from lapel.cli.shared import faults
assert not {"pgqueuer", "uvicorn"} & set(sys.modules)
import lapel.hosting.roles.api_role
import lapel.hosting.roles.store_role
assert "uvicorn" in sys.modules
assert "pgqueuer" not in sys.modules
import lapel.hosting.roles.worker_role
assert "pgqueuer" in sys.modules
"""

# The modules of an idle worker.
WORKER = """
import sys
import lapel.hosting.roles.worker_role
import lapel.slices.summaries.work.summary_runner
import lapel.slices.transcription.work.runner
import lapel.slices.transcription.work.tools
import lapel.slices.webhooks.delivery.engine
assert "aiohttp" not in sys.modules
import lapel.slices.webhooks.delivery.posting.attempts
assert "aiohttp" in sys.modules
"""


@pytest.mark.parametrize("script", [SCRIPT, WORKER], ids=["pgqueuer and uvicorn", "aiohttp"])
def test_processes_import_large_libraries_only_where_they_need_them(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
