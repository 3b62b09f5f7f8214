"""Reads server-sent events from a service's answer, with bounds. Source: WHATWG HTML, section 9.2.6."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

    from lapel.slices.providers.http.account import Account

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBounds:
    """How much of an answer is read, and how long it may take: seconds.

    `first`: to the first bytes of the body. `between`: from some bytes to the next. `total`: for the whole
    answer. `line_bytes`: the longest line, or the longest answer that is not a stream. `total_bytes`: of the
    stream.
    """

    first: float
    between: float
    total: float
    line_bytes: int = 2 * 1024 * 1024
    total_bytes: int = 64 * 1024 * 1024


async def event_data(
    response: aiohttp.ClientResponse, bounds: AnswerBounds, account: Account
) -> AsyncGenerator[bytes]:
    """The `data` of each event, in order. An answer that is not a stream of events is one piece of data.

    Events without data and all other fields are ignored. An event that the end of the answer cuts off is
    not given. Raises ProviderAway if the answer is too long, and TimeoutError if it is too slow.
    """
    chunks = _chunks(response, bounds, account)
    if response.content_type != "text/event-stream":
        whole = bytearray()
        async for chunk in chunks:
            whole += chunk
            if len(whole) > bounds.line_bytes:
                raise account.unreadable("it is too long")
        yield bytes(whole)
        return
    data: list[bytes] = []
    held = 0
    async for line in _lines(chunks, bounds, account):
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
                held += len(value) + 1
                if held > bounds.line_bytes:
                    raise account.unreadable("an event is too long")
        elif data:
            yield b"\n".join(data)
            data, held = [], 0


async def _chunks(
    response: aiohttp.ClientResponse, bounds: AnswerBounds, account: Account
) -> AsyncGenerator[bytes]:
    """The body as it arrives. Time limits count only while this waits, because the caller may be slow."""
    clock = asyncio.get_running_loop()
    deadline, read, patience = clock.time() + bounds.total, 0, bounds.first
    while True:
        async with asyncio.timeout_at(min(clock.time() + patience, deadline)):
            chunk = await response.content.readany()
        if not chunk:
            return
        patience = bounds.between
        read += len(chunk)
        if read > bounds.total_bytes:
            raise account.unreadable("it is too long")
        yield chunk


async def _lines(
    chunks: AsyncGenerator[bytes], bounds: AnswerBounds, account: Account
) -> AsyncGenerator[bytes]:
    """The lines, which end with LF, CR LF or CR. What the end of the answer cuts off is dropped."""
    pending: list[bytes] = []
    size, first = 0, True
    async for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if b"\n" in chunk or b"\r" in chunk:  # else join later: a line may come in very many chunks
            text = b"".join(pending)
            # A CR at the end may be the first half of CR LF.
            text, half = (text[:-1], b"\r") if text.endswith(b"\r") else (text, b"")
            lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            pending = [lines.pop() + half]
            size = len(pending[0])
            for line in lines:
                yield line.removeprefix(_BOM) if first else line
                first = False
        if size > bounds.line_bytes:
            raise account.unreadable("a line is too long")
