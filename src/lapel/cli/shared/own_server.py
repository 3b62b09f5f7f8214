"""A `lapel serve` of the command's own: in a temporary folder, as long as the command runs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.http_client import NoAnswer, request

LAPEL = (sys.executable, "-m", "lapel.cli.main")
_START_TIMEOUT = 90
_STOP_TIMEOUT = 15


class NotServed(CommandError):
    """The server did not start; the message has its last lines."""


class OwnServer(msgspec.Struct, frozen=True):
    """The running server."""

    process: subprocess.Popen[bytes]
    base_url: str


class _RunFile(msgspec.Struct):
    pid: int
    base_url: str


def end_on_sigterm() -> None:
    """Turns SIGTERM into SystemExit, so that processes are stopped and temporary folders are removed."""

    def leave(signum: int, frame: object) -> None:
        del frame
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, leave)


@contextmanager
def temporary_folder(prefix: str) -> Generator[Path]:
    """A folder for data that does not exist yet; it is removed after the block."""
    made = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield made / "data"
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def own_server(folder: Path, environment: Mapping[str, str]) -> Generator[OwnServer]:
    """Runs `lapel serve` on the folder as a child, on a free port, during the block.

    Raises NotServed when the server ends or is not healthy in time.
    """
    with tempfile.TemporaryFile() as log:
        # A session of its own: Ctrl-C in the terminal reaches only this process, and it stops the server.
        process = subprocess.Popen(
            [*LAPEL, "serve", "--data-dir", str(folder), "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        try:
            yield OwnServer(process, _await_healthy(process, folder, log))
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_healthy(process: subprocess.Popen[bytes], folder: Path, log: IO[bytes]) -> str:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()[-20:]
            raise NotServed(
                "\n  ".join([f"the server ended at once, with code {process.returncode}:", *lines])
            )
        running = _run_file(folder)
        if running and running.pid == process.pid and _is_healthy(running.base_url):
            return running.base_url
        time.sleep(0.05)
    raise NotServed(f"the server was not healthy within {_START_TIMEOUT} s")


def _run_file(folder: Path) -> _RunFile | None:
    try:
        return msgspec.json.decode((folder / "run.json").read_bytes(), type=_RunFile)
    except (OSError, msgspec.DecodeError):
        return None


def _is_healthy(base_url: str) -> bool:
    try:
        return request("GET", f"{base_url}/health", timeout=5).status == 200
    except NoAnswer:
        return False
