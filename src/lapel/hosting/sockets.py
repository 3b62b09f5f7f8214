"""Sockets on which the processes of a server listen. Commands use them too, and do not import uvicorn for it.

Source: socket(7) (SO_REUSEPORT) of the Linux man-pages.
"""

from __future__ import annotations

import socket
import sys

BACKLOG = 2048


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
