"""Serving an ASGI application: sockets, TLS, the guarded protocol, and a stop that lets requests end.

`listen` makes the sockets. `serve` runs one process's server on them until its `stop` event is set.

Sources: socket(7) (SO_REUSEPORT) of the Linux man-pages, and the documentation of uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from uvicorn import Config, Server

from lapel.hosting.connection_limits import HttpLimits, guarded

if TYPE_CHECKING:
    from lapel.foundation.core.asgi import App
    from lapel.hosting.connection_limits import GuardedProtocol

BACKLOG = 2048
DRAIN = 3.0  # seconds that requests under way get when the server stops
KEEP_ALIVE = 75  # seconds; longer than the idle time of usual load balancers


class AddressInUse(OSError):
    """Lapel cannot listen on an address; the message names the address and the remedy."""


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """`count` listening sockets for as many processes on one address; port 0 takes a free port.

    On Linux each socket has a queue of its own (SO_REUSEPORT), and the kernel spreads connections over the
    sockets; elsewhere all sockets share one queue. Raises AddressInUse when the address cannot be listened
    on.
    """
    family, _, _, _, address = _resolve(host, port)
    share = count > 1 and sys.platform == "linux"
    try:
        # With SO_REUSEPORT the port could be shared with another program by accident: bind without it first.
        first = _bound(family, address, share=False)
        if share:
            address = first.getsockname()
            first.close()
            first = _bound(family, address, share=True)
    except OSError as fault:
        raise AddressInUse(
            f"{host}:{port} cannot be listened on ({fault.strerror}); choose another with --port or --host."
        ) from fault
    address = first.getsockname()
    rest = [_bound(family, address, share=True) if share else first.dup() for _ in range(count - 1)]
    return [first, *rest]


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, int, int, str, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as fault:
        raise AddressInUse(
            f"{host} is not an address of this machine ({fault.strerror}); see --host."
        ) from fault
    family, kind, protocol, name, address = found[0]
    return family, kind, protocol, name, address  # pyright: ignore[reportReturnType]  # 4 items with IPv6


def _bound(family: socket.AddressFamily, address: tuple[str, int], *, share: bool) -> socket.socket:
    # asyncio switches Nagle's algorithm (a delay of 40 ms) off only on sockets whose protocol is TCP.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


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
