"""A program for test_forks.py: it makes a fork with much that a fork must not keep, and reports on it.

`python -m tests.hosting.forking WHAT`: prints what the fork printed, and its exit status in the last line.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from lapel.hosting import child
from lapel.hosting.forks import Forks

SECRET = "a-secret-of-the-supervisor"


def _descriptors() -> dict[str, str]:
    found: dict[str, str] = {}
    for each in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the one that the listing itself had open
            found[each.name] = str(each.readlink())
    return found


def report(role: str) -> None:
    """What the process has."""
    handled = [number for number in signal.valid_signals() if callable(signal.getsignal(number))]
    print(
        json.dumps(
            {
                "role": role,
                "environment": dict(os.environ),
                "descriptors": _descriptors(),
                "handled": handled,
                "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
                "ignored": [
                    each for each in signal.valid_signals() if signal.getsignal(each) is signal.SIG_IGN
                ],
                "leads_its_group": os.getpgid(0) == os.getpid(),
                "input": sys.stdin.read(),
                "temporary": tempfile.gettempdir(),
                "modules": len(sys.modules),
                "path": sys.path,
            }
        )
    )


def fail(_role: str) -> None:
    """Ends as a process with a bug does."""
    raise ValueError("no way")


def leave(_role: str) -> None:
    """Ends as a process does that cannot go on, with a message."""
    raise SystemExit("the store has no access key")


def leave_with_code(_role: str) -> None:
    """Ends with a status."""
    raise SystemExit(78)


def hang(_role: str) -> None:
    """Ends by the signal only."""
    signal.pause()


RUNS: dict[str, Callable[[str], None]] = {
    each.__name__: each for each in (report, fail, leave, leave_with_code, hang)
}


def main(what: str) -> None:
    """Makes the fork."""
    os.environ["LAPEL_SECRET"] = SECRET
    tempfile.gettempdir()
    lock = Path(tempfile.mkdtemp()) / "lock"
    held = lock.open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # under nohup
    kept, passed = os.pipe()
    print("printed before", end=" ")
    with contextlib.suppress(OSError):
        print("a warning", file=sys.stderr)
    forks = Forks(frozenset({"api"}))
    child.run = RUNS[what]
    if what == "hang":
        threading.Timer(0, lambda: None).start()
    process = forks.spawn("api", {"LAPEL_READY_FD": str(passed), "TMPDIR": "/dev"}, [passed])
    if what == "hang":
        process.send_signal(signal.SIGTERM)
    status = process.wait()
    print(json.dumps([status, process.poll(), passed]))
    for each in (read, write, kept, passed):
        os.close(each)


if __name__ == "__main__":
    main(sys.argv[1])
