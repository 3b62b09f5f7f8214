"""The load of a fleet: requests are sent when they are due, whether or not the server keeps up (open loop).

Run `python -m benchmarks.paced_client FILE HOST PORT CONNECTIONS RATE SECONDS`. The file's requests (NUL
between them) are sent in turn. A latency counts from the time at which the request was due, so a server that
falls behind cannot hide it (no coordinated omission). Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from itertools import cycle
from pathlib import Path

import uvloop

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_TICK = 0.002
_PATIENCE = 30.0


class _Fleet:
    """Due requests, free connections, and the latencies so far."""

    def __init__(self, requests: list[bytes], rate: float, seconds: float) -> None:
        self._requests = cycle(requests)
        self._rate = rate
        self._total = round(rate * seconds)
        self._began = time.perf_counter()
        self._sent = 0
        self.free: deque[_Connection] = deque()
        self.latencies: list[float] = []
        self.failed = 0
        self.done = asyncio.Event()

    def send_due(self) -> None:
        """Send all due requests for which a connection is free."""
        due = min(self._total, int((time.perf_counter() - self._began) * self._rate))
        while self._sent < due and self.free:
            due_at = self._began + self._sent / self._rate
            self._sent += 1
            self.free.popleft().send(next(self._requests), due_at)

    def answered(self, connection: _Connection, status_ok: bool, due_at: float) -> None:
        """Note one answer; its connection is free again."""
        self.latencies.append(time.perf_counter() - due_at)
        self.failed += not status_ok
        self.free.append(connection)
        if len(self.latencies) >= self._total:
            self.done.set()
        self.send_due()

    def lost(self) -> None:
        """Note that a connection was lost."""
        if not self.done.is_set():
            self.failed += 1

    async def run(self) -> float:
        """Run until everything is answered, or nothing is for a long time; gives the seconds."""
        while (
            not self.done.is_set()
            and time.perf_counter() - self._began < self._total / self._rate + _PATIENCE
        ):
            self.send_due()
            await asyncio.sleep(_TICK)
        return time.perf_counter() - self._began


class _Connection(asyncio.Protocol):
    def __init__(self, fleet: _Fleet) -> None:
        self._fleet = fleet
        self._received = b""
        self._due_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._transport = transport
        self._fleet.free.append(self)

    def send(self, request: bytes, due_at: float) -> None:
        self._due_at = due_at
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received = data = self._received + data if self._received else data
        head = data.find(_END)
        if head < 0:
            return
        at = data.lower().find(_LENGTH, 0, head) + len(_LENGTH)
        length = int(data[at : data.find(b"\r", at)])
        if len(data) < head + len(_END) + length:
            return
        self._received = b""
        self._fleet.answered(self, data.startswith(b"HTTP/1.1 2"), self._due_at)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        self._fleet.lost()


async def _load(
    requests: list[bytes], host: str, port: int, connections: int, rate: float, seconds: float
) -> str:
    fleet = _Fleet(requests, rate, seconds)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(fleet), host, port)
    took = await fleet.run()
    seen = sorted(fleet.latencies)
    return json.dumps(
        {
            "requests": len(seen),
            "seconds": took,
            "p50": seen[len(seen) // 2],
            "p95": seen[len(seen) * 95 // 100],
            "p99": seen[len(seen) * 99 // 100],
            "failed": fleet.failed + max(0, round(rate * seconds) - len(seen)),
        }
    )


def main() -> None:
    """Load the server named on the command line."""
    file, host, port, connections, rate, seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        requests = Path(file).read_bytes().split(b"\0")
        print(runner.run(_load(requests, host, int(port), int(connections), float(rate), float(seconds))))


if __name__ == "__main__":
    main()
