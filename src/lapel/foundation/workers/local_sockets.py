"""Unix sockets by which a process serves the other processes of the same Lapel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import structlog

_BACKLOG = 128
_PAUSE = 0.1  # seconds, when no connection can be accepted

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def listening_socket(path: Path) -> socket.socket:
    """A Unix socket at `path`, in place of what an ended process left there. Raises OSError."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


async def connections(listener: socket.socket) -> AsyncGenerator[socket.socket]:
    """The connections of a listening socket, one after the other, without an end.

    After an accept that fails it waits a tenth of a second and goes on.
    """
    # No server of the event loop: it looks at the path of the socket, which a confined process may not, and
    # some versions remove the file, which the next process of the role needs.
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as fault:  # there are too many open files, or the client has left
            _log.warning("socket.not_accepted", error=str(fault))
            await asyncio.sleep(_PAUSE)
        else:
            yield connection
