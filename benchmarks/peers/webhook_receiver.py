"""The lightest receiver of webhooks: `python -m benchmarks.peers.webhook_receiver PORT [SECONDS]`.

It answers every POST with 204, after SECONDS if given, and remembers when each event came first. `GET /seen`
gives the moments (Unix time) by event, and `GET /count` their number. An event named `evt_0` is not kept.
"""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import time
from typing import cast

import msgspec
import uvloop

_LENGTH = re.compile(rb"(?i)content-length: (\d+)")
_EVENT = re.compile(rb"(?i)x-bota-event-id: (\S+)")
_ACCEPTED = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection. `seen`: of all connections."""

    seen: dict[str, float] = {}  # noqa: RUF012 - shared on purpose
    delay = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has classes of its own
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._buffer = data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(data, 0, end)
        if length is not None and len(data) < end + 4 + int(length[1]):
            return
        self._buffer = b""
        event = _EVENT.search(data, 0, end)
        if event is not None and event[1] != b"evt_0":
            self.seen.setdefault(event[1].decode(), time.time())
        if data.startswith(b"GET"):
            body = msgspec.json.encode(self.seen if data.startswith(b"GET /seen") else len(self.seen))
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._write, _ACCEPTED)
        else:
            self._write(_ACCEPTED)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", port, backlog=2048)
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    Receiver.delay = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    uvloop.run(_serve(int(sys.argv[1])))
