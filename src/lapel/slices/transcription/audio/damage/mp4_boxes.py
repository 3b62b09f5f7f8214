"""Damage in MP4 files: a box that is longer than the file, or bytes that are no box.

Source: ISO/IEC 14496-12. The index of an MP4 says where each packet is; packets that are missing or damaged
are found when they are decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.file_places import FilePlace, Unscannable

_MOST_BOXES = 2_000_000
# Boxes of the top level that hold audio or its index. Others at the end of a file are of no importance.
_OF_AUDIO = frozenset((b"moov", b"moof", b"mdat"))
_MOST_IN_FRAGMENT = 1_000
_IN_FRAGMENT = frozenset(
    (
        *(b"mfhd", b"traf", b"tfhd", b"tfdt", b"trun", b"sbgp", b"sgpd", b"subs", b"saiz", b"saio", b"senc"),
        *(b"uuid", b"meta", b"udta", b"free", b"skip", b"pssh", b"sdtp"),
    )
)


def scan_mp4(source: ByteSource) -> Iterator[FilePlace]:
    """The damage of an MP4 or MOV. Raises Unscannable and OSError."""
    at, before = 0, None
    for _ in range(_MOST_BOXES):
        head = source.read(at, 16)
        if not head:
            return
        name, size = _box(head, source.size - at)
        if size < 8:
            # Nobody knows whether another fragment was to follow.
            if source.only_zeros(at) if before is None else source.is_padding(at):
                return
            yield FilePlace("cut" if len(head) < 8 else "corrupt_bytes", at, source.size)
            return
        if at + size > source.size:
            if name in _OF_AUDIO:
                yield FilePlace("cut", source.size, source.size)
            return
        if name == b"moof":
            number, is_whole = _fragment(source, at + 8, at + size)
            if not is_whole or (number is not None and before is not None and number > before + 1):
                yield FilePlace("corrupt_bytes", at, at + size)
            before = number
        at += size
    raise Unscannable


def _box(head: bytes, rest: int) -> tuple[bytes, int]:
    """Name and size of the box that begins here; 0 if there is none. `rest`: bytes of the file from here."""
    if len(head) < 8:
        return b"", 0
    size, name = struct.unpack(">I4s", head[:8])
    if not all(32 <= each < 127 or each == 0xA9 for each in name):
        return name, 0
    if size == 1 and len(head) == 16:
        size = struct.unpack(">Q", head[8:])[0]
    elif size == 0 and name == b"mdat":
        size = rest  # up to the end of the file
    return name, size


def _fragment(source: ByteSource, at: int, end: int) -> tuple[int | None, bool]:
    """The number of a fragment of which these are the boxes, and whether the boxes fill it exactly."""
    number = None
    for _ in range(_MOST_IN_FRAGMENT):
        if at >= end:
            return number, at == end
        head = source.read(at, 16)
        if len(head) < 8:
            break
        size, name = struct.unpack(">I4s", head[:8])
        if size < 8 or name not in _IN_FRAGMENT:
            break
        if name == b"mfhd" and len(head) == 16:
            number = struct.unpack(">I", head[12:])[0]
        at += 8 if name == b"traf" else size  # its boxes are read one by one
    return number, False
