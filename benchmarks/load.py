"""Load on an HTTP server from another process: wrk when it is installed, else our own client."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 64
_LUA = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of the clients: requests per second, latencies in seconds. `requests`: answered requests."""

    rate: float
    p50: float
    p99: float
    requests: int


def generator() -> str:
    """Name of the load generator in use."""
    return "wrk" if shutil.which("wrk") else "own client"


def write_requests(path: Path, host: str, requests: Sequence[tuple[str, str, str, bytes]]) -> Path:
    """Write requests for `run`: (method, path, bearer token, JSON body or nothing)."""
    parts: list[bytes] = []
    for method, target, token, body in requests:
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        parts.append(f"{head}\r\n".encode() + body)
    path.write_bytes(b"\0".join(parts))
    return path


def run(requests: Path, port: int, *, seconds: float, connections: int = CONNECTIONS) -> Load:
    """Send the file's requests in random order; each connection has one under way at a time.

    Raises RuntimeError when any request is not answered with a 2xx.
    """
    if generator() == "wrk":
        command = [
            "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(_LUA),
            f"http://127.0.0.1:{port}", "--", str(requests),
        ]  # fmt: skip
    else:
        module = [sys.executable, "-m", "benchmarks.load_client"]
        command = [*module, str(requests), "127.0.0.1", str(port), str(connections), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    if seen["failed"] or not seen["requests"]:
        raise RuntimeError(f"{seen['failed']} of {seen['requests']} requests failed: {done.stdout}")
    return Load(seen["requests"] / seen["seconds"], seen["p50"], seen["p99"], seen["requests"])


def median(loads: Sequence[Load]) -> Load:
    """The median of each figure."""
    return Load(
        statistics.median(each.rate for each in loads),
        statistics.median(each.p50 for each in loads),
        statistics.median(each.p99 for each in loads),
        sum(each.requests for each in loads),
    )
