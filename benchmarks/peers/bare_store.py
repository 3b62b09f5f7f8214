"""About the least that can answer a GET of a file: raw ASGI, `open`, and `sendfile` behind the head.

No signatures, no conditions, no ranges, no limits, no thread for a file that is not in the page cache.
uvicorn knows no message that sends a file, so this peer writes to the socket of uvicorn's transport.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from lapel.foundation.core.asgi import Receive, Scope, Send

_FOLDER = os.environ.get("BENCH_FOLDER", ".")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One request, or the lifespan."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    file = os.open(_FOLDER + scope["path"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        cycle: RequestResponseCycle = send.__self__  # type: ignore[attr-defined]
        sent = 0
        with suppress(OSError):  # the socket's buffer is full, or the client is gone
            sent = os.sendfile(cycle.transport.get_extra_info("socket").fileno(), file, 0, size)
        cycle.expected_content_length -= sent
        rest = os.pread(file, size - sent, sent) if sent < size else b""
        await send({"type": "http.response.body", "body": rest})
    finally:
        os.close(file)
