"""Becomes a PostgreSQL program: gives up root, asks the kernel to end it with its parent, and calls exec.

Run as a script in a fresh interpreter: `python -I -S shim.py UID GID PARENT CWD PROGRAM ARG…`. The shim
imports everything before it gives up root, because the standard library may lie in a folder that only root
may enter. A change of uid clears PR_SET_PDEATHSIG, so the shim sets it after the change. The kernel sends the
signal when the thread that started the shim ends, so the parent must start the shim from its main thread.

Source: PR_SET_PDEATHSIG in prctl(2) of the Linux man-pages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(uid: int, gid: int, parent: int, cwd: str, argv: list[str]) -> None:
    """Replaces this process by `argv`, run in `cwd` as `uid`:`gid`; exits 3 when the parent is gone."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    os.chdir(cwd)
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None:
        # SIGINT is the fast stop; SIGTERM would wait for clients that may never leave.
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(3)
    os.setpgid(0, 0)  # Ctrl-C in the terminal is for the supervisor, which stops us last
    os.umask(0o077)
    os.execv(argv[0], argv)  # noqa: S606


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
