"""The query process of embeddings, as `lapel serve` starts it, without a server around it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path

from lapel.hosting.children import Child
from lapel.process_environment import child_environment
from lapel.settings import Settings


class Embedder:
    """A query process on `socket`. `settings` of another process lead it there."""

    def __init__(self, socket: Path, more: Mapping[str, str]) -> None:
        self.socket = socket
        self.settings = Settings.from_env({"LAPEL_EMBEDDER_SOCKET": str(socket)})
        self._child = Child(
            "embedder", "embedder", lambda own: {**child_environment(self.settings, own), **more}
        )

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""
        assert self._child.process is not None
        return self._child.process.pid

    def start(self) -> None:
        """Start it, also after `kill`, and wait until it is ready."""
        self._child.start()
        assert self._child.hear(), "the query process did not come up"

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as `lapel serve` does; gives the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        self._child.send(number)
        assert self._child.process is not None
        return self._child.process.wait()


@contextlib.contextmanager
def embedder(**more: str) -> Generator[Embedder]:
    """A query process during a block. `more`: variables of its environment."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-", dir="/tmp"))  # the path of a socket is short
    running = Embedder(folder / "socket", more)
    running.start()
    try:
        yield running
    finally:
        running.kill()
        shutil.rmtree(folder)


def end_of_embedder(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A query process that ends by itself."""
    environment = os.environ | {"LAPEL_EMBEDDER_SOCKET": str(folder / "socket")} | more
    command = [sys.executable, "-P", "-m", "lapel.hosting.child", "embedder"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
