"""Frames on a private Unix socket: the body's length (4 bytes, big endian) and the body in MessagePack
(https://msgpack.org).

The pipes of worker processes have a longer head, which also tells what the body is.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import asyncio

LENGTH = struct.Struct(">I")


def framed(message: msgspec.Struct) -> bytes:
    """The frame of a message."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


async def frame_body(reader: asyncio.StreamReader, most: int, *, first: bytes = b"") -> bytes:
    """The body of the next frame. `most`: its bytes at most. `first`: what was read of the frame already.

    Raises IncompleteReadError when the other side has closed, and ValueError when the frame is too large.
    """
    (length,) = LENGTH.unpack(first + await reader.readexactly(LENGTH.size - len(first)))
    if length > most:
        raise ValueError(f"a frame of {length} bytes")
    return await reader.readexactly(length)
