"""Finding and stopping the processes of a PostgreSQL data folder, whichever process started them.

A killed supervisor may leave a server behind, and PostgreSQL 18 can hang for ever in a fast stop that
comes right after a crash of one of its processes. So a stop always escalates: SIGINT (fast),
SIGQUIT (immediate; the next start recovers), SIGKILL.

Source: PostgreSQL's documentation, section "Shutting Down the Server"; pidfd_open(2) of the Linux man-pages.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
POLL = 0.01


def escalate(send: Callable[[signal.Signals], None], gone: Callable[[float], bool], grace: float) -> bool:
    """Sends the stop signals in turn, until `gone` (its argument: seconds to wait at most) returns True.

    SIGINT has `grace` seconds to work, SIGQUIT the same but at least 0.3 and at most 2, SIGKILL 5 seconds.
    Returns False if the process lives on.
    """
    for number, patience in zip(STOP_SIGNALS, (grace, max(0.3, min(2.0, grace)), 5.0), strict=True):
        with contextlib.suppress(ProcessLookupError):
            send(number)
        if gone(patience):
            return True
    return False


def postmaster_pid(data: Path) -> int | None:
    """The pid in `data`/postmaster.pid, or None. The pid of a single-user server is negative in the file."""
    try:
        first = (data / "postmaster.pid").read_text().split("\n", 1)[0]
        return abs(int(first)) or None
    except (OSError, ValueError):
        return None


def is_ready(data: Path, pid: int) -> bool:
    """Whether the server `pid` accepts connections: the eighth line of postmaster.pid says so."""
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def stop_survivors(data: Path, grace: float) -> list[int]:
    """Stops every PostgreSQL process that works in `data` and returns the pids found.

    The caller holds the lock of the data folder, so every process that runs there was left behind. Raises
    RuntimeError when a process outlives SIGKILL.
    """
    found = _working_in(data)
    if found:
        leader = postmaster_pid(data)
        # The server's own children end with the server; without a server, the children get the signals.
        for pid in [leader] if leader in found else found:
            if not _stop_stranger(pid, grace):
                raise RuntimeError(f"PostgreSQL process {pid} of {data} does not end; stop it and try again.")
        deadline = time.monotonic() + 5
        while _working_in(data):
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL processes of {data} do not end: {_working_in(data)}.")
            time.sleep(POLL)
    # No server works here any more. PostgreSQL would refuse to start beside a stale pid file if the number in
    # the file now belongs to another process, or if a dying server left the file half written.
    pid = postmaster_pid(data)
    if pid is None or _alive(pid):
        (data / "postmaster.pid").unlink(missing_ok=True)
    return found


def _stop_stranger(pid: int, grace: float) -> bool:
    """Stops a process that is not our child. On Linux, a process that reuses its pid gets no signal."""
    if sys.platform != "linux":
        return escalate(
            lambda number: os.kill(pid, number), lambda patience: _wait_dead(pid, patience), grace
        )
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return escalate(
            lambda number: signal.pidfd_send_signal(handle, number),
            lambda patience: bool(select.select([handle], [], [], patience)[0]),
            grace,
        )
    finally:
        os.close(handle)


def _wait_dead(pid: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _working_in(data: Path) -> list[int]:
    """Pids of PostgreSQL processes whose working folder is `data`."""
    if sys.platform != "linux":
        pid = postmaster_pid(data)
        return [pid] if pid is not None and _is_postgres_by_ps(pid) else []
    return [int(entry.name) for entry in _processes() if _is_server_in(entry, data)]


def _processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _is_server_in(entry: Path, data: Path) -> bool:
    try:
        if (entry / "comm").read_text().strip() != "postgres":
            return False
        state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" and (entry / "cwd").samefile(data)
    except OSError:
        return False  # ended meanwhile, or another user's


def _is_postgres_by_ps(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return Path(shown.stdout.strip()).name == "postgres"
