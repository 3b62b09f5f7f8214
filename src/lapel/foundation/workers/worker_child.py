"""The child's side of a worker process (see worker_process.py), and the format of the frames.

This module imports as little as possible, because each child waits for these imports at its start.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import sys
from collections.abc import Generator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from lapel.foundation.workers.parent_death import end_with
from lapel.foundation.workers.sandbox import confine

if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[float | str], None]

HEAD = struct.Struct(">IB")
PROGRESS, ANSWER, REFUSAL = 0, 1, 2


class Refusal(Exception):
    """The child refuses the work, and would do so again.

    `code` is for programs, the message for people, and `remedy` for the operator alone.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


class RefusalFrame(msgspec.Struct, frozen=True, array_like=True):
    """A Refusal as it is sent."""

    code: str
    message: str
    remedy: str = ""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The child's parameters on its command line.

    `files`: the descriptor through which files come. `reads`: the paths that the child may open by name, None
    for all that the account may open.
    """

    memory_bytes: int
    parent: int
    files: int
    reads: list[str] | None


def answer_requests(
    request: Any,  # noqa: ANN401 - a struct, or a union of tagged ones, which has no common type
    handle: Callable[[Any, Report], msgspec.Struct],
    told: str,
    *,
    imported: bool = False,
) -> None:
    """The child's side: answers until the parent is gone. `told`: sys.argv[1], from the parent.

    A child that is not trusted gives up its rights before it reads a request, see sandbox.py. `imported`: the
    child has imported all code that it needs, so it may open only `reads` and files that come with a request.
    """
    bounds = msgspec.json.decode(told, type=Bounds)
    end_with(bounds.parent)
    if bounds.memory_bytes and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (bounds.memory_bytes, bounds.memory_bytes))
    # Libraries may print; their output must not get between the frames.
    with (
        open(os.dup(1), "wb", buffering=0) as out,  # noqa: PTH123
        open(os.dup(0), "rb") as incoming,  # noqa: PTH123
        socket.socket(fileno=bounds.files) as channel,
    ):
        os.dup2(2, 1)
        decoder = msgspec.msgpack.Decoder(request)
        if bounds.reads is not None:
            confine([Path(each) for each in bounds.reads], needs_code=not imported)
            end_with(bounds.parent)  # a change of account undoes the first call
        while head := incoming.read(HEAD.size):
            length, files = HEAD.unpack(head)
            with _taken(channel, files):
                _answer(out, decoder.decode(incoming.read(length)), handle)


# The files that came with the request that is being answered: path to descriptor.
_handed_over: dict[str, int] = {}


def open_file(path: str, mode: Literal["r", "w"] = "r") -> FileIO:
    """Open a file that came with the request, or any other; a new file is private. Raises OSError."""
    handed_over = _handed_over.get(path)
    if handed_over is not None:
        return FileIO(os.dup(handed_over), mode)
    return FileIO(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


@contextlib.contextmanager
def _taken(channel: socket.socket, files: int) -> Generator[None]:
    """Receives the files of one request, and closes them when the request is answered."""
    try:
        for _ in range(files):
            head, descriptors, _, _ = socket.recv_fds(channel, 4, 1)
            (length,) = struct.unpack(">I", head)
            _handed_over[os.fsdecode(channel.recv(length, socket.MSG_WAITALL))] = descriptors[0]
        yield
    finally:
        while _handed_over:
            os.close(_handed_over.popitem()[1])


def _answer(out: FileIO, request: object, handle: Callable[[Any, Report], msgspec.Struct]) -> None:
    def send(kind: int, value: object) -> None:
        body = msgspec.msgpack.encode(value)
        left = memoryview(HEAD.pack(len(body), kind) + body)
        while left:
            left = left[out.write(left) :]

    try:
        answer = handle(request, lambda done: send(PROGRESS, done))
    except Refusal as refusal:
        send(REFUSAL, RefusalFrame(refusal.code, refusal.message, refusal.remedy))
    else:
        send(ANSWER, answer)
