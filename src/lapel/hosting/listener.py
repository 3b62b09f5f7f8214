"""Serving an ASGI application: TLS, the guarded protocol, and a stop that lets requests end.

`serve` runs one process's server, on the sockets that it is given, until its `stop` event is set.

Source: the documentation of uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from uvicorn import Config, Server

from lapel.hosting.connections.connection_limits import HttpLimits, guarded
from lapel.hosting.sockets import BACKLOG

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import App
    from lapel.hosting.connections.connection_limits import GuardedProtocol

DRAIN = 3.0  # seconds that requests under way get when the server stops
KEEP_ALIVE = 75  # seconds; longer than the idle time of usual load balancers


class _Server(Server):
    """uvicorn's server, with a call when it is ready, and without its own signal handlers."""

    def __init__(self, config: Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(
    app: App,
    sockets: Sequence[socket.socket],
    limits: HttpLimits,
    stop: asyncio.Event,
    *,
    ready: Callable[[], None] = lambda: None,
    tls: tuple[Path, Path] | None = None,
    drain: float = DRAIN,
) -> None:
    """Serves `app` on `sockets` (and closes them) until `stop` is set.

    Requests that are then running get at most `drain` seconds to end; after that, connections that are still
    open are aborted. `tls`: the paths of the certificate chain and of the key, both PEM files. `ready` is
    called when connections are accepted and the application's start-up is over. Exits the process with status
    3 when the application cannot start.
    """
    certificate, key = tls or (None, None)
    config = Config(
        app,
        interface="asgi3",  # uvicorn would take an application that is no coroutine function for another one
        http=guarded(limits, stop),
        ws="none",
        log_config=None,
        access_log=False,  # it would write signed links and tokens
        server_header=False,
        proxy_headers=False,  # ClientAddresses reads them
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=drain,  # pyright: ignore[reportArgumentType]  # only handed to wait_for
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = _Server(config, ready)

    async def obey() -> None:
        await stop.wait()
        server.should_exit = True

    obeying = asyncio.create_task(obey())
    try:
        await server.serve(list(sockets))
    finally:
        obeying.cancel()
        await _cut(server)


async def _cut(server: Server) -> None:
    """End the connections that are open after the drain: uvicorn only cancels their tasks."""
    left = [cast("GuardedProtocol", each) for each in server.server_state.connections]
    for connection in left:
        connection.transport.abort()
    if left:
        await asyncio.sleep(0)  # in which the loop closes their sockets
