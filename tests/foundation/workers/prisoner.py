"""A child that tries what none may, and answers what came of it.

Started as `python -m tests.foundation.workers.prisoner`.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable

import msgspec

from lapel.foundation.workers.worker_child import answer_requests, open_file


class Try(msgspec.Struct, kw_only=True):
    """`do`: a name below; `what`: the path or port it is about. `handed`: what the parent opens for it."""

    do: str
    what: str = ""
    handed: list[tuple[str, int]] = []

    def files(self) -> list[tuple[str, int]]:
        return self.handed


class Came(msgspec.Struct, kw_only=True):
    """`of_it`: what was read, `done`, or the name of the error."""

    of_it: str
    pid: int


def _connect(kind: socket.SocketKind) -> Callable[[str], str]:
    def connect(port: str) -> str:
        with socket.socket(socket.AF_INET, kind) as opened:
            opened.connect(("127.0.0.1", int(port)))
            opened.send(b"x")
        return "done"

    return connect


def _write(path: str) -> str:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"x")
    return "done"


def _read(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read().decode()


def _read_handed(path: str) -> str:
    with open_file(path) as file:
        return file.read().decode()


def _write_handed(path: str) -> str:
    with open_file(path, "w") as file:
        file.write(b"handed over")
    return "done"


_DOES: dict[str, Callable[[str], object]] = {
    "read": _read,
    "write": _write,
    "read handed": _read_handed,
    "write handed": _write_handed,
    "tcp": _connect(socket.SOCK_STREAM),
    "udp": _connect(socket.SOCK_DGRAM),
    "become root": lambda _: os.setuid(0) or "done",
    "run": lambda path: os.execv(path, [path]),
    "signal": lambda pid: os.kill(int(pid), 0) or "done",
}


def handle(asked: Try, _report: Callable[[float], None]) -> Came:
    try:
        of_it = str(_DOES[asked.do](asked.what))
    except OSError as error:
        of_it = errno.errorcode[error.errno or 0]
    return Came(of_it=of_it, pid=os.getpid())


if __name__ == "__main__":
    answer_requests(Try, handle, sys.argv[1], imported=True)
