"""`lapel serve` as an operator runs it, and its processes by role."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from lapel.hosting import children
from tests.support.patience import patience
from tests.support.serving import ended
from tests.support.warm import Warm, children_of, is_role

Role = Literal["api", "worker", "store", "postgres"]
ROLES: tuple[Role, ...] = ("api", "worker", "store", "postgres")
PATIENCE = 60.0


class Run(msgspec.Struct, frozen=True):
    """Content of `run.json`."""

    pid: int
    base_url: str
    port: int
    database_url: str
    store_endpoint: str


def impatient() -> None:
    """Restart without a growing delay: no test can wait for a thousand backoffs."""
    children.LONGEST_DELAY = children.FIRST_DELAY


class ServeTree:
    """One `lapel serve` on `data_dir`. `environment`: the operator's variables."""

    def __init__(self, data_dir: Path, log: Path, environment: dict[str, str]) -> None:
        self.data_dir = data_dir
        self.log = log
        self._environment = environment
        self._supervisor: Warm | None = None

    async def start(self, port: int = 0) -> Run:
        """Start it, and wait until `run.json` names its address."""
        self._spawn(port)
        async with patience(PATIENCE):
            while True:
                run = self._run()
                if run is not None:
                    return run
                await asyncio.sleep(0.05)

    def _spawn(self, port: int) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
        command = ["serve", "--data-dir", str(self.data_dir), "--port", str(port), "--api-processes", "2"]
        with self.log.open("ab") as log:
            self._supervisor = Warm(
                *command, env=kept | self._environment, stdout=log, stderr=log, before=impatient
            )

    def _run(self) -> Run | None:
        """Content of `run.json` from this supervisor; a killed one may have left its own."""
        assert self._supervisor is not None
        assert self._supervisor.poll() is None, self.tail()
        try:
            run = msgspec.json.decode((self.data_dir / "run.json").read_bytes(), type=Run)
        except FileNotFoundError:
            return None
        return run if run.pid == self._supervisor.pid else None

    def pids(self) -> dict[Role, list[int]]:
        """The children that are alive now."""
        assert self._supervisor is not None
        found: dict[Role, list[int]] = {role: [] for role in ROLES}
        for child in children_of(self._supervisor.pid):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                for role in ROLES:
                    if is_role(child, role):
                        found[role].append(child.pid)
                        break
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the tree, in order or (SIGKILL) not; gives the exit status."""
        assert self._supervisor is not None
        self._supervisor.send_signal(number)
        return ended(self._supervisor)

    def end(self) -> None:
        """Kills the supervisor when it still runs; its children end with it."""
        if self._supervisor is not None and self._supervisor.poll() is None:
            self._supervisor.kill()
            self._supervisor.wait()

    def tail(self, lines: int = 60) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
