"""Who reads what was sent, and who does not, as the sweep of all connections sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from lapel.foundation.core.asgi import CONNECTION
from lapel.hosting.connections.connection_limits import GuardedProtocol, guarded
from tests.hosting.test_listener import GET, LIMITS

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import Receive, Scope, Send

LENGTH = [(b"content-length", b"1000")]
BODY = b"x" * 1000


class Wire(asyncio.Transport):
    """A transport to a client. `unsent`: bytes that the kernel has not taken."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.written = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.written += b"".join(list_of_data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True


async def _whole(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope[CONNECTION].answer(scope, 200, LENGTH, BODY)


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while (await receive())["type"] != "http.disconnect":
        pass


def _connected(app: object) -> tuple[GuardedProtocol, Wire]:
    config = Config(app, interface="asgi3", log_config=None)  # pyright: ignore[reportArgumentType]
    config.load()
    protocol = guarded(LIMITS, asyncio.Event())(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def _ask(protocol: GuardedProtocol) -> None:
    """A request arrives, its application runs in the loop's next iteration, then the answer is written."""
    protocol.data_received(GET)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


# The times of the sweeps of ten times the longest pause.
SWEEPS = [number * LIMITS.sweep for number in range(int(10 * LIMITS.body_timeout / LIMITS.sweep))]


async def test_who_asks_again_and_again_reads_the_answers() -> None:
    """The kernel has bytes to send at each sweep, and yet the client has read all earlier answers."""
    protocol, wire = _connected(_whole)
    for now in SWEEPS:
        wire.unsent = 0
        await _ask(protocol)
        wire.unsent = 1000
        protocol.check(now)
    assert not wire.aborted
    assert wire.written.count(BODY) == len(SWEEPS)


async def test_what_the_kernel_was_not_offered_is_no_fault_of_the_client() -> None:
    """A stream may have an event that waits for the end of the loop's iteration, at each sweep."""
    protocol, wire = _connected(_stream)
    protocol.data_received(GET)
    for now in SWEEPS:
        protocol.transport.write(b"an event")
        assert protocol.transport.get_write_buffer_size()
        protocol.check(now)
        await asyncio.sleep(0)
    assert not wire.aborted
    protocol.connection_lost(None)
    await asyncio.wait(protocol.tasks)


@pytest.mark.parametrize("taken", [0, 10])
@pytest.mark.parametrize("requests", [1, 1000])
async def test_who_reads_too_little_is_cut_whatever_it_asks_for(requests: int, taken: int) -> None:
    """Of what is written for the client, the kernel takes `taken` bytes between two sweeps."""
    protocol, wire = _connected(_whole)
    cut_after = 0.0
    for number, now in enumerate(SWEEPS):
        cut_after = now
        if number < requests:
            before = len(wire.written)
            await _ask(protocol)
            wire.unsent += len(wire.written) - before
        wire.unsent -= taken
        protocol.check(now)
        if wire.aborted:
            break
    assert wire.aborted
    assert cut_after < 3 * LIMITS.body_timeout


async def test_who_reads_slowly_enough_is_not_cut() -> None:
    protocol, wire = _connected(_whole)
    await _ask(protocol)
    for now in SWEEPS:
        protocol.transport.write(b"x" * 60)  # 1,200 bytes in a second
        await asyncio.sleep(0)
        wire.unsent = 5000
        protocol.check(now)
    assert not wire.aborted
