"""Other work on the machine, beside which something is measured."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator


@contextlib.contextmanager
def busy() -> Generator[None]:
    """Every core is used by another process, at the usual priority."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()
