"""Closes file descriptors, and tells the operator when a process has used them up.

Each connection and each open file is one. Without a free one, the event loop drops new connections, and logs
nothing.

Source: getrlimit(2) and accept(2) of the Linux man-pages.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import time
from pathlib import Path

import structlog

# Below so many free descriptors, requests begin to fail: the database and the store need some, too.
_SPARE = 16
_LOOK_SECONDS = 1.0
_BETWEEN_SECONDS = 60.0
_OWN = (
    "Raise the limit of open files: LimitNOFILE= of the systemd unit, `ulimit -n NUMBER` before the start, "
    "or `--ulimit nofile=NUMBER` of the container. API processes (`--api-processes`) share the load."
)
_OF_MACHINE = "Raise the limit of the whole machine: `sysctl fs.file-max=NUMBER`."

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard limit: the soft limit is often only 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def watch_limit(*, look: float = _LOOK_SECONDS, between: float = _BETWEEN_SECONDS) -> None:
    """Log when hardly a descriptor is free, at most once in `between` seconds; look every `look` seconds."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = -between
    while True:
        await asyncio.sleep(look)
        remedy = _lacking(limit)
        if remedy is not None and time.monotonic() - told >= between:
            told = time.monotonic()
            _log.error("process.open_files_used_up", limit=limit, remedy=remedy)


def close_all_but(kept: set[int]) -> None:
    """Close what a fork must not have. Linux only."""
    for each in list(Path("/proc/self/fd").iterdir()):
        if int(each.name) not in kept:
            with contextlib.suppress(OSError):  # the one that the listing itself had open
                os.close(int(each.name))


def _lacking(limit: int) -> str | None:
    """What helps if hardly a descriptor is free; else None. A new descriptor is the lowest free number."""
    try:
        lowest = os.dup(2)
    except OSError as fault:
        if fault.errno == errno.ENFILE:
            return _OF_MACHINE
        return _OWN if fault.errno == errno.EMFILE else None
    os.close(lowest)
    return _OWN if lowest >= limit - _SPARE else None
