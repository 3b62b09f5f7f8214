"""A call whose answer is lost: the connection ends at a random byte of the request or of the answer.

The request is written to the socket by hand, because an HTTP library sends only whole requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from random import Random
from urllib.parse import urlsplit

_PATIENCE = 10.0
_LONGEST_ANSWER = 3000  # bytes; a cut past the end reads the whole answer and drops it


async def lose(method: str, url: str, headers: Mapping[str, str], body: bytes, dice: Random) -> None:
    """Makes the call and ends the connection: half of the time within the request, else within the answer.

    The server may or may not process a request that was cut. What is read of the answer is thrown away.
    """
    where = urlsplit(url)
    secure = where.scheme == "https"
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    head = {"Host": where.netloc, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    request = "\r\n".join(lines).encode() + body
    sent = dice.randrange(len(request)) if dice.random() < 0.5 else len(request)
    # After a whole request, wait for at least one byte of the answer. Otherwise the server could process the
    # request after its repeat.
    heard = dice.randrange(1, _LONGEST_ANSWER) if sent == len(request) else 0
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(
                where.hostname,
                where.port or (443 if secure else 80),
                ssl=ssl.create_default_context() if secure else None,
            )
            try:
                writer.write(request[:sent])
                await writer.drain()
                if heard:
                    await reader.readexactly(heard)
            finally:
                writer.transport.abort()
