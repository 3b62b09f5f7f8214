"""Ports for servers that cannot be handed a listening socket."""

import contextlib
import random
import socket

# Below the ports that Linux and macOS give to the clients' ends of connections. With `bind(0)` the port can
# be such a client's a moment later, and then the server cannot listen on it.
_FIRST, _LAST = 20_000, 32_700


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on at this moment."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            each = held.enter_context(socket.socket())
            port = random.SystemRandom().randint(_FIRST, _LAST)
            with contextlib.suppress(OSError):  # taken: the next one
                each.bind(("127.0.0.1", port))
                ports.append(port)
        return ports
