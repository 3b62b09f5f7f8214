"""A receiver on this machine that answers 410, so that the server disables the webhook that leads to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress

_GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]{1,7})\r\n", re.IGNORECASE)


@asynccontextmanager
async def gone_receiver() -> AsyncGenerator[tuple[str, asyncio.Event]]:
    """The receiver's URL, and an event that is set when the receiver has answered a delivery."""
    answered = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        faults = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with closing(writer), suppress(*faults):
            length = _LENGTH.search(await reader.readuntil(b"\r\n\r\n"))
            if length is None:
                return
            # Bytes that are left unread would reset the connection, and the answer could be lost.
            await reader.readexactly(int(length[1]))
            writer.write(_GONE)
            await writer.drain()
            answered.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", answered
