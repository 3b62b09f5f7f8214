"""What short commands do not import: it would take longer than their work."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import lapel.app
from lapel.cli.commands import config, keys, projects, serve
from lapel.cli.shared import faults
assert not {"pgqueuer", "uvicorn"} & set(sys.modules)
import lapel.hosting.api_server
assert "pgqueuer" in sys.modules, "the first request that enqueues a job would import PgQueuer"
"""


def test_only_processes_that_serve_import_uvicorn_and_pgqueuer() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
