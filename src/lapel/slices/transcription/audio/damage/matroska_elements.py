"""Damage in WebM and Matroska: elements longer than the file, and bytes that are no element.

Sources: RFC 8794 (EBML), RFC 9559 (Matroska). Browsers that record live write segments and clusters of
unknown size, without a duration and without an index. Their time stamps may jump while nobody speaks or while
the recording pauses. So jumps count only where the file is damaged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.file_places import FilePlace, Unscannable

_MOST_ELEMENTS = 20_000_000
# Marks of a cluster in one file that begin none. In noise there is one in 4 GiB.
_MOST_TRIED = 100_000
_SEGMENT, _CLUSTER, _INFO, _TIME = 0x18538067, 0x1F43B675, 0x1549A966, 0xE7
_SCALE, _DURATION = 0x2AD7B1, 0x4489
_HEAD = 0x1A45DFA3
# Elements of a segment, and of a cluster.
_OF_SEGMENT = frozenset(
    (_CLUSTER, _INFO, 0x114D9B74, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF)
)
_OF_CLUSTER = frozenset((_TIME, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF))
_KNOWN = _OF_SEGMENT | _OF_CLUSTER | {_HEAD}
_MARK_OF_CLUSTER = bytes.fromhex("1F43B675")


class _EbmlElement(NamedTuple):
    """`begin`: of the content. `end`: None if the size is unknown."""

    name: int
    begin: int
    end: int | None


def _element(source: ByteSource, at: int) -> _EbmlElement | None:
    """The element here; None if there is none."""
    head = source.read(at, 12)
    if not head or not head[0] or head[0] < 0x10:
        return None
    width = 9 - head[0].bit_length()
    if len(head) <= width or not head[width]:
        return None
    long = 9 - head[width].bit_length()
    sized = head[width : width + long]
    if len(sized) < long:
        return None
    size = int.from_bytes(sized, "big") & ((1 << 7 * long) - 1)
    begin = at + width + long
    unknown = size == (1 << 7 * long) - 1
    return _EbmlElement(int.from_bytes(head[:width], "big"), begin, None if unknown else begin + size)


class MatroskaScan:
    """Reads the elements of a file in order. `claimed_ms`: as the file says it; None if it does not."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._tried = 0
        self.claimed_ms: int | None = None

    def places(self) -> Iterator[FilePlace]:
        """The damage of the file, in order. Raises Unscannable and OSError."""
        source, at, end, is_damaged = self._source, 0, 0, False  # `end`: of the segment; 0 if it is unknown
        for _ in range(_MOST_ELEMENTS):
            if at >= source.size:
                # Bytes that are missing in the middle also make a segment too short.
                if end > source.size and not is_damaged:
                    yield FilePlace("cut", source.size, source.size)
                return
            found = _element(source, at)
            if found is not None and found.name in (_SEGMENT, _CLUSTER):
                if found.name == _SEGMENT:
                    end = found.end or 0
                at = found.begin  # its elements are read one by one
            elif (
                found is not None
                and found.name in _KNOWN
                and found.end is not None
                and found.end <= source.size
            ):
                if found.name == _INFO:
                    self._read_info(found.begin, found.end)
                at = found.end
            else:
                if source.only_zeros(at) if 0 < end <= at else source.is_padding(at):
                    return
                # No element, or one with a damaged size, or one in which the file ends.
                begin, following = at, self._next_cluster(at + 1)
                is_damaged = True
                if following is None:
                    yield FilePlace("cut", begin, source.size)
                    return
                yield FilePlace("corrupt_bytes", begin, following)
                at = following
        raise Unscannable

    def _next_cluster(self, at: int) -> int | None:
        """Where the next cluster begins: an element with this name that holds its time.

        Raises Unscannable when too many marks of the file begin no cluster.
        """
        while (found := self._source.find(_MARK_OF_CLUSTER, at)) is not None:
            cluster = _element(self._source, found)
            if cluster is not None:
                first = _element(self._source, cluster.begin)
                if first is not None and first.name in _OF_CLUSTER:
                    return found
            self._tried += 1
            if self._tried > _MOST_TRIED:
                raise Unscannable
            at = found + 1
        return None

    def _read_info(self, at: int, end: int) -> None:
        scale, duration = 1_000_000, None
        for _ in range(100):
            found = _element(self._source, at) if at < end else None
            if found is None or found.end is None or found.end > end:
                break
            content = self._source.read(found.begin, min(found.end - found.begin, 8))
            if found.name == _SCALE:
                scale = int.from_bytes(content, "big")
            elif found.name == _DURATION and len(content) in (4, 8):
                duration = struct.unpack(">f" if len(content) == 4 else ">d", content)[0]
            at = found.end
        if duration is not None and 0 < duration * scale < 2**53:
            self.claimed_ms = int(duration * scale / 1_000_000)
