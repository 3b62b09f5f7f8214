"""`lapel serve` as an operator runs it, and access to its processes.

Commands are warm (see warm.py) unless a test says `cold`: then each process is a Python that starts anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from tests.support.forks import nothing
from tests.support.patience import Deadline
from tests.support.plain_http import http
from tests.support.warm import Warm, children_of, is_role

LAPEL = [sys.executable, "-m", "lapel.cli.main"]
PATIENCE = 60.0


def eventually(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Calls `what` until the result is true, and gives it; network errors count as not yet true."""
    deadline = Deadline(seconds)
    while True:
        with contextlib.suppress(httpx.HTTPError, psutil.NoSuchProcess, FileNotFoundError):
            found = what()
            if found:
                return found
        assert not deadline.has_passed(), "did not happen in time"
        time.sleep(0.03)


def ended(process: subprocess.Popen[str] | Warm) -> int:
    """Waits for the end of the process; gives its exit status."""
    eventually(lambda: process.poll() is not None)
    status = process.returncode
    assert status is not None
    return status


class Served:
    """One `lapel serve`. `told`: the JSON that it printed when everything was up, with the first key."""

    def __init__(self, process: subprocess.Popen[str] | Warm, data_dir: Path, told: dict[str, Any]) -> None:
        self.process = process
        self.data_dir = data_dir
        self.told = with_key(told)
        self.url: str = told["base_url"]

    @property
    def run_file(self) -> dict[str, Any]:
        return json.loads((self.data_dir / "run.json").read_text())

    def pids(self, role: str) -> list[int]:
        """Processes of a role (`postgres` is the server's first) that are alive now."""
        found: list[int] = []
        for child in children_of(self.process.pid):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if is_role(child, role):
                    found.append(child.pid)
        return found

    def pid(self, role: str) -> int:
        return eventually(lambda: self.pids(role))[0]

    def health(self) -> int:
        return http.get(f"{self.url}/health", timeout=5).status_code

    def await_healthy(self) -> None:
        eventually(lambda: self.health() == 200)

    @contextlib.contextmanager
    def connected_to_embedder(self) -> Generator[socket.socket]:
        """A connection to the process that embeds queries, which it starts."""
        opened = psutil.Process(self.process.pid).net_connections("unix")
        (path,) = {each.laddr for each in opened if str(each.laddr).endswith("/socket")}
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            yield client

    @contextlib.contextmanager
    def asking_embedder(self) -> Generator[int]:
        """The same; gives the id of the process."""
        with self.connected_to_embedder():
            yield self.pid("embedder")

    def all_pids(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return ended(self.process)


def run(
    *arguments: str | Path, env: dict[str, str] | None = None, cold: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end."""
    with _begun(*map(str, arguments), env=env, cold=cold, stderr=subprocess.PIPE) as process:
        output, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.wait(), output, errors)


def _begun(
    *arguments: str,
    env: dict[str, str] | None,
    cold: bool,
    stderr: int | IO[str],
    before: Callable[[], None] = nothing,
) -> subprocess.Popen[str] | Warm:
    # Without a local language model, whatever is installed here.
    environment = {"LAPEL_LANGUAGE_MODEL": "extractive"} | os.environ | (env or {})
    if not cold:
        return Warm(*arguments, env=environment, stderr=stderr, before=before)
    return subprocess.Popen(
        [*LAPEL, *arguments], env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
    )  # fmt: skip


def told(*arguments: str | Path, env: dict[str, str] | None = None) -> Any:
    """The output of a command with --json; the command must succeed."""
    done = run(*arguments, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def with_key(told: dict[str, Any]) -> dict[str, Any]:
    """The output of `serve` or `init` into a pipe, with the key from the file that it names."""
    file = told["key_file"]
    assert told["key"] is None  # no key is printed into a pipe
    return told | {"key": Path(file).read_text().strip() if file else None}


@contextlib.contextmanager
def serving(
    data_dir: Path,
    *flags: str,
    env: dict[str, str] | None = None,
    log: Path | None = None,
    cold: bool = False,
    before: Callable[[], None] = nothing,
) -> Generator[Served]:
    """A server on a free port during the block. When it does not come up, the error shows its log.

    `before`: a function of a module, which the server calls first; not with `cold`.
    """
    with (log or data_dir.with_name(f"{data_dir.name}.log")).open("a+") as output:
        command = ["serve", "--json", "--data-dir", str(data_dir), "--port", "0", *flags]
        process = _begun(*command, env=env, cold=cold, stderr=output, before=before)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                output.seek(0)
                raise AssertionError(f"the server did not come up:\n{output.read()[-4000:]}")
            yield Served(process, data_dir, json.loads(line))
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.stdout.close()
            process.wait()
