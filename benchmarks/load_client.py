"""The load generator for machines without wrk.

Run `python -m benchmarks.load_client FILE HOST PORT CONNECTIONS SECONDS`. Each connection sends one
request of the file (NUL between them), waits for the whole answer, sends the next. Prints the same line
of JSON as load.lua. It uses more CPU than wrk, so servers look slower and closer to each other.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path

import uvloop

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "


class _Connection(asyncio.Protocol):
    def __init__(self, requests: list[bytes], until: float, latencies: list[float]) -> None:
        self._requests = requests
        self._until = until
        self._latencies = latencies
        self._received = b""
        self._sent_at = 0.0
        self.failed = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received = data = self._received + data if self._received else data
        head = data.find(_END)
        if head < 0:
            return
        at = data.lower().find(_LENGTH, 0, head) + len(_LENGTH)
        length = int(data[at : data.find(b"\r", at)])
        if len(data) < head + len(_END) + length:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._sent_at)
        self.failed += not data.startswith(b"HTTP/1.1 2")
        self._received = b""
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        if time.perf_counter() < self._until:
            self.failed += 1
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(random.choice(self._requests))


async def _load(requests: list[bytes], host: str, port: int, connections: int, seconds: float) -> str:
    latencies: list[float] = []
    began = time.perf_counter()
    made: list[_Connection] = []
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(requests, began + seconds, latencies), host, port
        )
        made.append(connection)
    await asyncio.gather(*(each.done for each in made))
    took = time.perf_counter() - began
    latencies.sort()
    return json.dumps(
        {
            "requests": len(latencies),
            "seconds": took,
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[len(latencies) * 99 // 100],
            "failed": sum(each.failed for each in made),
        }
    )


def main() -> None:
    """Load the server named on the command line."""
    file, host, port, connections, seconds = sys.argv[1:]
    requests = Path(file).read_bytes().split(b"\0")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(_load(requests, host, int(port), int(connections), float(seconds))))


if __name__ == "__main__":
    main()
