"""A child that does what it is told, also what no child should.

Started as `python -m tests.foundation.workers.odd_child`.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import msgspec

from lapel.foundation.workers.worker_child import Refusal, answer_requests


class Ask(msgspec.Struct, kw_only=True):
    """`do`: a name below."""

    do: str
    number: int = 0
    text: str = ""


class AskOfFiles(Ask, kw_only=True):
    """The same, about `number` files."""

    def files(self) -> list[tuple[str, int]]:
        """All of them are the same one."""
        return [(os.devnull, os.O_RDONLY)] * self.number


class Told(msgspec.Struct, kw_only=True):
    text: str
    pid: int


def handle(ask: Ask, report: Callable[[float | str], None]) -> Told:
    if ask.do == "progress":
        for step in range(ask.number):
            report(step / ask.number)
    if ask.do == "pieces":
        for piece in ask.text.split():
            report(piece)
            report(0.5)
    return Told(text=_DOES[ask.do](ask), pid=os.getpid())


def _refuse(ask: Ask) -> NoReturn:
    raise Refusal("no_good", ask.text)


def _fail(ask: Ask) -> NoReturn:
    raise ValueError(ask.text)


def _flood(ask: Ask) -> str:
    for _ in range(ask.number // 65_536):
        os.write(2, b"x" * 65_536)
    return ""


# What each does, and the text of its answer.
_DOES: dict[str, Callable[[Ask], str]] = {
    "echo": lambda ask: ask.text,
    "progress": lambda ask: ask.text,
    "pieces": lambda ask: ask.text,
    "sleep": lambda ask: str(time.sleep(ask.number)),
    "refuse": _refuse,
    "fail": _fail,
    "exit": lambda ask: os._exit(ask.number),
    "kill": lambda ask: str(os.kill(os.getpid(), ask.number)),
    "hog": lambda ask: str(len(bytearray(ask.number))),
    "flood": _flood,
    "print": lambda ask: print(ask.text, flush=True) or ask.text,
    "environment": lambda ask: os.environ.get(ask.text, ""),
    "large": lambda ask: "x" * ask.number,
}


def answer_oddly(how: str) -> None:
    sys.stdin.buffer.read(5)
    if how == "hang up":
        os.close(0)
        os.close(1)
        time.sleep(600)
    odd = {
        "not MessagePack": struct.pack(">IB", 3, 1) + b"\xc1\xc1\xc1",
        "another struct": struct.pack(">IB", 1, 1) + msgspec.msgpack.encode({}),
        "4 GiB": struct.pack(">IB", 0xFFFF_FFFF, 1),
        "odd progress": struct.pack(">IB", 2, 0) + msgspec.msgpack.encode("x"),
        "odd refusal": struct.pack(">IB", 2, 2) + msgspec.msgpack.encode("x"),
        "half a frame": struct.pack(">IB", 100, 1) + b"half",
        "nothing": b"",
    }
    os.write(1, odd[how])
    if how in {"half a frame", "nothing"}:
        os._exit(0)
    time.sleep(600)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        answer_oddly(sys.argv[2])
    answer_requests(Ask, handle, sys.argv[1])
