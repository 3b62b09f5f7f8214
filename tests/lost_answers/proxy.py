"""A TCP proxy that passes everything on, and ends a connection at a byte that the test chooses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

Side = Literal["request", "answer"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Both ends lose the connection once so many bytes of one side have passed.

    Of the answer, 0 means: the server has answered, and nothing of it arrives. `politely`: the server sees
    an ordinary end (FIN) instead of a reset.
    """

    side: Side
    at: int
    politely: bool


class LosingProxy:
    """`passed` is what went through the last connection; `cut_next` is for the next one only."""

    def __init__(self, host: str, port: int) -> None:
        self.passed: dict[Side, bytes] = {"request": b"", "answer": b""}
        self._target = (host, port)
        self._cut: Cut | None = None

    def cut_next(self, cut: Cut) -> None:
        """Where the next connection ends."""
        self._cut = cut

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        cut, self._cut = self._cut, None
        passed: dict[Side, bytes] = {"request": b"", "answer": b""}
        self.passed = passed
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        try:
            pumps = [
                asyncio.create_task(_pump("request", reader, server_writer, passed, cut)),
                asyncio.create_task(_pump("answer", server_reader, writer, passed, cut)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            for outcome in await asyncio.gather(*pumps, return_exceptions=True):
                assert outcome is None or isinstance(outcome, OSError | asyncio.CancelledError), outcome
        finally:
            writer.transport.abort()
            if cut is not None and cut.politely:
                server_writer.close()
            else:
                server_writer.transport.abort()


async def _pump(
    side: Side,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    passed: dict[Side, bytes],
    cut: Cut | None,
) -> None:
    """Returns when its side has ended, or has come to the cut."""
    limit = cut.at if cut is not None and cut.side == side else None
    if limit == 0 and side == "request":
        return
    while piece := await reader.read(65536):
        if limit is not None:
            piece = piece[: limit - len(passed[side])]
        passed[side] += piece
        writer.write(piece)
        await writer.drain()
        if limit is not None and len(passed[side]) >= limit:
            return


@asynccontextmanager
async def losing_proxy(host: str, port: int) -> AsyncGenerator[tuple[LosingProxy, int]]:
    """A proxy before a server, and the port that it listens on, until the block ends."""
    proxy = LosingProxy(host, port)
    under_way: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await proxy.connected(reader, writer)
        finally:
            under_way.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(under_way):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await server.wait_closed()
