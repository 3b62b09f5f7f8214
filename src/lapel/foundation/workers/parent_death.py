"""Settings of the calling process: its end with its parent, its name, one heap for all threads."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_M_ARENA_MAX = -8


def end_with(parent: int | None) -> None:
    """Makes this process end when the process `parent` ends for any reason (outside Linux, within 0.5 s)."""
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(3)


def name_process(name: str) -> None:
    """Sets the name that `ps -e` and `top` show on Linux, which keeps its first 15 bytes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def keep_one_heap() -> None:
    """All threads allocate from one heap; call it before there is a second thread.

    Otherwise glibc makes a heap for each thread, and each heap keeps the pages of its largest allocation.
    Other C libraries have neither these heaps nor this call.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_ARENA_MAX, 1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(3)
