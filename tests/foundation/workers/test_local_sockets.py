"""Connections over a Unix socket are accepted, also after one could not be."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from lapel.foundation.workers.local_sockets import connections, listening_socket


async def test_a_socket_takes_the_place_of_one_that_was_left(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listening_socket(path).close()
    with listening_socket(path) as listener, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        async with contextlib.aclosing(connections(listener)) as accepted:
            (await anext(accepted)).close()
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_failed_accept_is_not_the_last(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.setblocking(False)
        listener.bind(path)
        async with contextlib.aclosing(connections(listener)) as accepted:
            waiting = asyncio.create_task(anext(accepted))
            await asyncio.sleep(0.01)  # accept fails, because nobody listens yet
            assert not waiting.done()
            listener.listen()
            client.connect(path)
            (await waiting).close()
