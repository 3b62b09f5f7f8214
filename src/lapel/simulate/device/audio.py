"""Audio for simulated recordings: the speech sample, cut and repeated at the borders of its Ogg pages.

Every recording is a playable Ogg/Opus file (RFC 3533, RFC 7845) with its own comment, so no two recordings
have the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

from lapel.sample import speech

_HEADER = struct.Struct("<4sBBqIII")  # one more byte follows: the number of segments
_BEGINS, _ENDS = 2, 4
_PER_MS = 48  # granule positions: Opus counts samples at 48 kHz
_BACKWARDS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class SampleAudio:
    """An Ogg/Opus file."""

    data: bytes
    sha256: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class _OggPage:
    granule: int
    lacing: bytes
    payload: bytes


class Recorder:
    """Makes recordings from the sample."""

    def __init__(self) -> None:
        pages = _pages(speech().data)
        self._head, self._speech = pages[0], pages[2:]
        self._pre_skip: int = struct.unpack_from("<H", self._head.payload, 10)[0]

    def record(self, seconds: float, comment: str) -> SampleAudio:
        """A recording of `seconds`, or less than one second more. Its tags contain `comment`."""
        parts: list[bytes] = []
        left = max(1, round(seconds * 1000))
        total = link = 0
        while left > 0:
            length = self._link(parts, left, link, comment)
            total, left, link = total + length, left - length, link + 1
        data = b"".join(parts)
        return SampleAudio(data, hashlib.sha256(data).hexdigest(), total)

    def _link(self, parts: list[bytes], ms: int, serial: int, comment: str) -> int:
        """Appends a stream of `ms` to `parts`, or of the whole sample if that is shorter.

        Returns the length of the stream in ms.
        """
        wanted = ms * _PER_MS + self._pre_skip
        count = next((at for at, page in enumerate(self._speech, 1) if page.granule >= wanted), None)
        pages = self._speech[:count]
        tags = _tags(comment)
        parts.append(_encoded(self._head, serial, 0, _BEGINS))
        parts.append(_encoded(_OggPage(0, _lacing(len(tags)), tags), serial, 1, 0))
        for at, page in enumerate(pages, 2):
            parts.append(_encoded(page, serial, at, _ENDS if at == len(pages) + 1 else 0))
        return (pages[-1].granule - self._pre_skip) // _PER_MS


def _pages(data: bytes) -> list[_OggPage]:
    found: list[_OggPage] = []
    at = 0
    while at < len(data):
        _, _, _, granule, _, _, _ = _HEADER.unpack_from(data, at)
        begin = at + _HEADER.size + 1
        lacing = data[begin : begin + data[begin - 1]]
        begin += len(lacing)
        at = begin + sum(lacing)
        found.append(_OggPage(granule, lacing, data[begin:at]))
    return found


def _encoded(page: _OggPage, serial: int, number: int, flags: int) -> bytes:
    rest = bytes((len(page.lacing),)) + page.lacing + page.payload
    blank = _HEADER.pack(b"OggS", 0, flags, page.granule, serial, number, 0)
    return _HEADER.pack(b"OggS", 0, flags, page.granule, serial, number, _checksum(blank + rest)) + rest


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32 (RFC 3533): with zlib's polynomial, but reversed order of bits and no inversion."""
    found = zlib.crc32(page.translate(_BACKWARDS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)


def _tags(comment: str) -> bytes:
    vendor, text = b"lapel", f"DESCRIPTION={comment}".encode()
    return b"".join(
        (b"OpusTags", struct.pack("<I", len(vendor)), vendor, struct.pack("<II", 1, len(text)), text)
    )


def _lacing(length: int) -> bytes:
    return b"\xff" * (length // 255) + bytes((length % 255,))
