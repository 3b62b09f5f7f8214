"""Time from `lapel serve` to the first healthy answer: on a new data folder, and on the same one again.

Run `python -m benchmarks.start`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.report import Row, show
from tests.support.ports import free_ports

FIRST_STARTS = 3
LATER_STARTS = 5
# Seconds from the start until the memory is measured: schedules have run, and connections have their caches.
SETTLE = 15.0
_PATIENCE = 60.0


def measure() -> list[Row]:
    """Medians of first and later starts and of the stop, and the memory of the whole tree after a start."""
    firsts: list[float] = []
    laters: list[float] = []
    stops: list[float] = []
    sizes: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(FIRST_STARTS):
            # All are removed at the end: ext4 makes files slowly if many were deleted in the last minutes.
            folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            first, stop, _ = _start(folder)
            firsts.append(first)
            stops.append(stop)
            for number in range(1, LATER_STARTS + 1):
                later, stop, sizes = _start(folder, settle=SETTLE if number == LATER_STARTS else 0)
                laters.append(later)
                stops.append(stop)
    each = ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())
    return [
        Row("first start to healthy", statistics.median(firsts), "s", at_most=1.2, detail=_spread(firsts)),
        Row("later start to healthy", statistics.median(laters), "s", at_most=0.6, detail=_spread(laters)),
        Row("Ctrl-C to gone", statistics.median(stops), "s", at_most=5, detail=_spread(stops)),
        Row(
            f"whole process tree, idle for {SETTLE:.0f} s: PSS",
            sum(sizes.values()),
            "MiB",
            at_most=200,
            detail=f"MiB each: {each}",
        ),
    ]


def _spread(values: list[float]) -> str:
    return f"{len(values)} times, {min(values):.2f}-{max(values):.2f} s"


def _start(folder: Path, *, settle: float = 0) -> tuple[float, float, dict[str, float]]:
    """Seconds to healthy, seconds from the interrupt to the end, and PSS in MiB by kind of process."""
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
    command = [sys.executable, "-m", "lapel.cli.main", "serve"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--data-dir", str(folder), "--port", str(port), "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _healthy(port):
            if process.poll() is not None or time.perf_counter() - began > _PATIENCE:
                raise RuntimeError("`lapel serve` does not get healthy")
            time.sleep(0.01)
        healthy = time.perf_counter() - began
        if process.stdout is not None:  # it prints once the worker is up too and the key is made
            process.stdout.readline()
        time.sleep(settle)
        sizes = _sizes(process.pid)
    finally:
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        process.wait(30)
    return healthy, time.perf_counter() - began, sizes


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def _sizes(pid: int) -> dict[str, float]:
    supervisor = psutil.Process(pid)
    sizes: dict[str, float] = {}
    for process in (supervisor, *supervisor.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            name = "supervisor" if process.pid == pid else process.name().removeprefix("lapel-")
            info = process.memory_full_info()
            sizes[name] = sizes.get(name, 0.0) + getattr(info, "pss", info.rss) / 2**20
    return sizes


if __name__ == "__main__":
    show(measure())
