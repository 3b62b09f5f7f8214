"""Checks that bytes are Ogg with Opus, as they pass by, and finds their duration.

Nothing is decoded: the check reads frames and checksums, in constant memory, and its work is linear in the
number of bytes. Sources: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg). Chained streams are allowed, one after the
other; multiplexed streams, lost pages and a last page that is cut are not.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NoReturn

from lapel.slices.encrypted_uploads.documents.failures import Refused

# Capture pattern, version, flags, granule, serial, sequence, checksum, number of segments.
_HEADER: Final = struct.Struct("<4sBBqIIIB")
_HEADER_LENGTH: Final = 27
_CRC_AT: Final = 22
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_FULL = b"\xff"  # a segment of 255 bytes, which its packet continues
_NO_PACKET_ENDS = -1
_RATE = 48_000  # of granules, whatever the audio's own sample rate is
_LONGEST_PACKET = 5_760  # samples: 120 ms
_HEAD_LENGTH = 19
# The checksum of Ogg shifts to the left, and that of zlib to the right. They agree on bytes whose bits are
# reversed, which is how a checksum of zlib's speed is had here.
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ONES: Final = 0xFFFFFFFF
_NO_CRC: Final = bytes(4)


class OggOpusCheck:
    """Give the bytes to `feed`, in order, then call `finish`."""

    def __init__(self) -> None:
        self._waiting = b""  # the begin of a page
        self._samples = 0  # of the streams that have ended
        self._stream: _Stream | None = None

    def feed(self, data: bytes) -> None:
        """Raises Refused (`integrity_failed`) at the first byte that no Ogg with Opus has."""
        waiting = self._waiting + data if self._waiting else data
        reversed_bits = waiting.translate(_REVERSED)
        view, at = memoryview(reversed_bits), 0
        while (length := _page_length(waiting, at)) is not None:
            _check_sum(view[at : at + length], waiting, at)
            self._take(waiting, at, length)
            at += length
        self._waiting = waiting[at:]

    def finish(self) -> int:
        """The duration in milliseconds. Raises Refused (`integrity_failed`) if the bytes end too early."""
        if self._waiting or self._stream is None:
            _refuse("it ends within a page" if self._waiting else "it is empty")
        return (self._samples + self._stream.finish()) * 1000 // _RATE

    def _take(self, data: bytes, at: int, length: int) -> None:
        _, _, flags, granule, serial, sequence, _, count = _HEADER.unpack_from(data, at)
        body_at = at + _HEADER_LENGTH + count
        segments = data[at + _HEADER_LENGTH : body_at]
        if flags & _FIRST:
            if self._stream is not None:
                self._samples += self._stream.finish()
            self._stream = _Stream(serial, sequence, flags, segments, data[body_at : at + length])
            return
        stream = self._stream
        if stream is None or serial != stream.serial:
            _refuse("a page belongs to no stream, or to another one")
        stream.take(flags, granule, sequence, segments, data[body_at : min(body_at + 8, at + length)])


class _Stream:
    """One logical stream, from the page with its head on."""

    def __init__(self, serial: int, sequence: int, flags: int, segments: bytes, body: bytes) -> None:
        if flags & ~_LAST != _FIRST or _FULL[0] in segments or len(segments) != 1:
            _refuse("the first page of a stream is not its head alone")
        self.serial = serial
        self._skipped = _pre_skip(body)
        self._sequence = sequence
        self._ended = bool(flags & _LAST)
        self._open = False  # whether the last packet goes on in the next page
        self._tags = False  # whether the packet of tags is complete
        self._pages = 1
        self._packets = 0
        self._first: int | None = None  # the granule before the first sample
        self._granule = 0

    def take(self, flags: int, granule: int, sequence: int, segments: bytes, beginning: bytes) -> None:
        """The next page; `beginning`: the first bytes of its body."""
        if self._ended or sequence != (self._sequence + 1) & _ONES:
            _refuse("a page is missing, or follows the last one")
        if bool(flags & _CONTINUED) != self._open:
            _refuse("a packet is not continued where it should be")
        self._sequence = sequence
        self._ended = bool(flags & _LAST)
        ending = len(segments) - segments.count(_FULL)
        self._open = segments.endswith(_FULL) if segments else self._open
        if not self._tags:
            self._take_tags(ending, segments, beginning)
        elif (ending == 0) != (granule == _NO_PACKET_ENDS):
            _refuse("a page has a position and no packet that ends, or the other way round")
        elif ending:
            self._advance(granule, ending)
        self._pages += 1

    def finish(self) -> int:
        """The samples of the stream, at 48 kHz. Raises Refused if it ends within its tags or a packet."""
        if self._open or not self._tags:
            _refuse("it ends within a packet")
        if self._first is None:
            return 0
        return max(0, min(self._granule - self._first, self._packets * _LONGEST_PACKET) - self._skipped)

    def _take_tags(self, ending: int, segments: bytes, beginning: bytes) -> None:
        if self._pages == 1 and not (beginning.startswith(b"OpusTags") and segments[0] >= len(beginning)):
            _refuse("the second packet is not that of tags")
        self._tags = ending == 1 and not self._open
        if ending > 1 or (ending and self._open):
            _refuse("audio begins on the page of the tags")

    def _advance(self, granule: int, ending: int) -> None:
        most = ending * _LONGEST_PACKET
        if self._first is None:
            # A stream that was cut out of a longer one begins late: then its first page does not count.
            self._first = granule if granule > most else 0
            self._granule = self._first
        if granule < self._granule:
            _refuse("the positions of pages go back")
        self._granule = granule
        self._packets += ending


def _page_length(data: bytes, at: int) -> int | None:
    """The bytes of the page that begins at `at`; None if it is not whole."""
    there = len(data) - at
    if there < _HEADER_LENGTH:
        if not b"OggS"[:there].startswith(data[at : at + 4]):
            _refuse("a page does not begin as pages do")
        return None
    if data[at : at + 5] != b"OggS\x00" or data[at + 5] > _CONTINUED | _FIRST | _LAST:
        _refuse("a page does not begin as pages do")
    body_at = at + _HEADER_LENGTH + data[at + 26]
    if len(data) < body_at:
        return None
    length = body_at - at + sum(data[at + _HEADER_LENGTH : body_at])
    return length if length <= there else None


def _check_sum(page: memoryview, data: bytes, at: int) -> None:
    """`page`: the page with its bits reversed; in `data` it begins at `at`, as it is."""
    register = zlib.crc32(page[:_CRC_AT], _ONES)
    register = zlib.crc32(_NO_CRC, register)
    register = zlib.crc32(page[_CRC_AT + 4 :], register) ^ _ONES
    said = data[at + _CRC_AT : at + _CRC_AT + 4].translate(_REVERSED)
    if register.to_bytes(4, "little") != said[::-1]:
        _refuse("the checksum of a page is not that of its bytes")


def _pre_skip(head: bytes) -> int:
    """The samples at the begin of a stream that are not played. Raises Refused for another head."""
    if len(head) < _HEAD_LENGTH or not head.startswith(b"OpusHead"):
        _refuse("the first packet is not the head of Opus")
    version, channels, pre_skip, _, _, family = struct.unpack_from("<BBHIhB", head, 8)
    mapping = 0 if family == 0 else 2 + channels
    if version >> 4 or not channels or (family == 0 and channels > 2) or len(head) < _HEAD_LENGTH + mapping:
        _refuse("the head of Opus is of a version or of channels that it cannot have")
    return pre_skip


def _refuse(what: str) -> NoReturn:
    raise Refused("integrity_failed", f"The plain text is no Ogg with Opus: {what}.")
