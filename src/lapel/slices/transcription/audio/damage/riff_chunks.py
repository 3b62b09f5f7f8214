"""Damage in WAV, Wave64 and CAF files: less audio than the header says, or a part of a sample at the end.

Sources: Microsoft's "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), EBU Tech 3306
(RF64), Sony's "Wave64 File Format", Apple's "Core Audio Format Specification 1.0". Samples have no checksum:
a file with other bytes in its middle cannot be told from the original.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.file_places import FilePlace, Unscannable

# Programs that cannot go back write 0, 0xFFFFFFFF, or nearly 2 GiB as the size of the samples.
_UNKNOWN_FROM = 0x7FFF_0000
_PLAIN = (1, 3, 0xFFFE)  # integers, floating point, and either of them with more than two channels
_MOST_CHUNKS = 10_000


def scan_wav(source: ByteSource) -> Iterator[FilePlace]:
    """The damage of a WAV or RF64. Raises Unscannable and OSError."""
    at, large, form = 12, None, None
    for _ in range(_MOST_CHUNKS):
        head = source.read(at, 8)
        if len(head) < 8:
            return
        name, size = struct.unpack("<4sI", head)
        at += 8
        if name == b"ds64" and size >= 16:
            large = struct.unpack("<Q", source.read(at + 8, 8).ljust(8, b"\0"))[0]
        elif name == b"fmt " and size >= 16:
            form = struct.unpack("<HHIIH", source.read(at, 14).ljust(14, b"\0"))
        elif name == b"data":
            yield from _data(source, at, size if large is None or size != 0xFFFF_FFFF else large, form)
            return
        at += size + size % 2
    raise Unscannable


def _data(
    source: ByteSource, at: int, size: int, form: tuple[int, int, int, int, int] | None
) -> Iterator[FilePlace]:
    """`size`: of the samples, according to the header."""
    if form is None or not form[3]:
        raise Unscannable
    kind, _, _, rate, align = form  # `rate`: bytes in a second
    here = source.size - at
    is_unknown = size == 0 or (_UNKNOWN_FROM <= size <= 0xFFFF_FFFF and size > here)
    torn = kind in _PLAIN and align > 0 and min(size or here, here) % align > 0
    if not is_unknown and size > here:
        missing = (size - here) * 1000 // rate
        # A program that counts a byte too many has lost nothing.
        if missing or torn:
            yield FilePlace("cut", source.size, source.size, missing)
    elif torn:
        yield FilePlace("cut", source.size, source.size)


def scan_w64(source: ByteSource) -> Iterator[FilePlace]:
    """The damage of a Wave64. Raises Unscannable and OSError."""
    at, form = 40, None
    for _ in range(_MOST_CHUNKS):
        head = source.read(at, 24)
        if len(head) < 24:
            return
        name, size = struct.unpack("<4s12xQ", head)
        if name == b"fmt ":
            form = struct.unpack("<HHIIH", source.read(at + 24, 14).ljust(14, b"\0"))
        elif name == b"data":
            yield from _data(source, at + 24, max(size - 24, 0), form)
            return
        at += max(size, 24) + -size % 8
    raise Unscannable


def scan_caf(source: ByteSource) -> Iterator[FilePlace]:
    """The damage of a CAF. Raises Unscannable and OSError."""
    at, rate = 8, 0.0  # `rate`: bytes in a second
    for _ in range(_MOST_CHUNKS):
        head = source.read(at, 12)
        if len(head) < 12:
            return
        name, size = struct.unpack(">4sq", head)
        at += 12
        if name == b"desc" and size >= 32:
            hertz, _, _, each, frames = struct.unpack(">d4sIII", source.read(at, 24).ljust(24, b"\0"))
            rate = hertz * each / frames if frames and 1 <= hertz < 1e9 else 0.0
        elif name == b"data":
            missing = at + size - source.size
            if missing > 0:
                yield FilePlace("cut", source.size, source.size, int(missing * 1000 / rate) if rate else None)
            return
        elif size < 0:
            raise Unscannable
        at += size
    raise Unscannable
