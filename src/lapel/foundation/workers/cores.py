"""The number of cores that a process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The number of cores that this process may use, at least 1.

    `quota`: the file with the container's CPU limit, `cpu.max` of cgroup v2 (quota and period, both in
    microseconds).
    """
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return min(count, max(1, round(int(share) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # there is no such file, or it says `max`
        return count
