"""A spawner of the tests: `python -m tests.foundation.workers.own_spawner DESCRIPTOR MOST MODULE`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from lapel.foundation.workers.parent_death import end_with
from lapel.foundation.workers.sandbox import RIGHTS_TO_CONFINE, give_up_rights
from lapel.foundation.workers.spawning.spawner import Spawner


@contextlib.contextmanager
def spawner_of_tests(module: str, most: int = 64) -> Generator[tuple[socket.socket, int]]:
    """Our end of its socket, and its process id. At the end it has ended by itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    place = {"PYTHONPATH": str(Path(__file__).parents[3])}
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, *(str(theirs.fileno()), str(most), module)],
                pass_fds=[theirs.fileno()], env=os.environ | place,
            )  # fmt: skip
        try:
            yield ours, process.pid
        finally:
            ours.close()
            process.wait(60)


if __name__ == "__main__":
    descriptor, most, module = sys.argv[1:]
    end_with(os.getppid())
    give_up_rights(RIGHTS_TO_CONFINE)
    Spawner(socket.socket(fileno=int(descriptor)), {module}, most=int(most)).run()
