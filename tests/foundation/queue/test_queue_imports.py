"""PgQueuer takes longer to import than most commands run."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import lapel.app
from lapel.cli.commands import config, keys, projects
assert "pgqueuer" not in sys.modules, "a command that enqueues nothing imports PgQueuer"
import lapel.hosting.api_server
assert "pgqueuer" in sys.modules, "the first request that enqueues a job would import PgQueuer"
"""


def test_servers_import_pgqueuer_at_their_start_and_short_commands_never() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
