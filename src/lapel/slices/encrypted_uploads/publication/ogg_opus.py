"""Checks that bytes are Ogg with Opus, as they pass by, and finds their duration.

Nothing is decoded: the check reads frames and checksums, in constant memory, and its work is linear in the
number of bytes. Sources: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg), RFC 6716 (a packet of Opus has at least one
byte). Chained streams are allowed, one after the other; multiplexed streams, lost pages and a last page that
is cut are not.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final, NoReturn

from fastcrc import crc32

from lapel.slices.encrypted_uploads.documents.failures import Refused

# Capture pattern and version, flags, granule, serial, sequence, checksum, number of segments.
_HEADER: Final = struct.Struct("<5sBqIIIB")
_BEGIN: Final = b"OggS\0"
_HEADER_LENGTH: Final = 27
# The checksum of a page counts its own field as zero.
_CRC: Final = struct.Struct("<I")
_CRC_AT: Final = 22
_checksum = crc32.mpeg_2  # the polynomial and the order of bits are those of Ogg, which begins with zero
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_FULL = b"\xff"  # a segment of 255 bytes, which its packet continues
# In segments: a packet ends, and the next one has no bytes.
_EMPTY_PACKET: Final = re.compile(rb"[^\xff]\x00", re.DOTALL)
_NO_PACKET_ENDS = -1
_RATE = 48_000  # of granules, whatever the audio's own sample rate is
_LONGEST_PACKET = 5_760  # samples: 120 ms
_HEAD_LENGTH = 19
_ONES: Final = 0xFFFFFFFF
# Larger copies are in memory that comes from the system each time, which takes longer than the check.
_AT_ONCE: Final = 64 * 1024


class OggOpusCheck:
    """Give the bytes to `feed`, in order, then call `finish`. Pieces of 64 KiB and more are fast."""

    def __init__(self) -> None:
        self._waiting = bytearray()  # the begin of a page
        self._samples = 0  # of the streams that have ended
        self._stream: _Stream | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Raises Refused (`integrity_failed`) at the first byte that no Ogg with Opus has."""
        view = memoryview(data)
        for at in range(0, len(view), _AT_ONCE):
            self._take(self._waiting + view[at : at + _AT_ONCE])

    def _take(self, data: bytearray) -> None:
        """Take all pages that are whole, and overwrite their checksums.

        The lower half of Adler-32 (RFC 1950) is the sum of the bytes and one. For at most 255 bytes that is
        exact, and `sum`, which makes a number of each byte, takes more than twice as long.
        """
        view, size, at, stream = memoryview(data), len(data), 0, self._stream
        unpack, set_crc, checksum, adler32 = _HEADER.unpack_from, _CRC.pack_into, _checksum, zlib.adler32
        while size - at >= _HEADER_LENGTH:
            begin, flags, granule, serial, sequence, said, count = unpack(data, at)
            if begin != _BEGIN or flags > _CONTINUED | _FIRST | _LAST:
                _refuse("a page does not begin as pages do")
            body_at = at + _HEADER_LENGTH + count
            segments = data[at + _HEADER_LENGTH : body_at]
            end = body_at + (adler32(segments) & 0xFFFF) - 1
            if end > size or len(segments) < count:
                break
            set_crc(data, at + _CRC_AT, 0)
            if checksum(view[at:end], 0) != said:
                _refuse("the checksum of a page is not that of its bytes")
            if flags & _FIRST:
                stream = self._begin(_Stream(serial, sequence, flags, segments, data[body_at:end]))
            elif stream is None or serial != stream.serial:
                _refuse("a page belongs to no stream, or to another one")
            elif stream.audio:
                stream.take(flags, granule, sequence, segments)
            else:
                stream.take_tags(flags, sequence, segments, data[body_at : min(body_at + 8, end)])
            at = end
        self._waiting = data[at:]
        if not _BEGIN.startswith(self._waiting[: len(_BEGIN)]):
            _refuse("a page does not begin as pages do")

    def finish(self) -> int:
        """The duration in milliseconds. Raises Refused (`integrity_failed`) if the bytes end too early."""
        if self._waiting or self._stream is None:
            _refuse("it ends within a page" if self._waiting else "it is empty")
        return (self._samples + self._stream.finish()) * 1000 // _RATE

    def _begin(self, stream: _Stream) -> _Stream:
        if self._stream is not None:
            self._samples += self._stream.finish()
        self._stream = stream
        return stream


class _Stream:
    """One logical stream, from the page with its head on. `audio`: whether its tags are complete."""

    def __init__(self, serial: int, sequence: int, flags: int, segments: bytearray, body: bytearray) -> None:
        if flags & ~_LAST != _FIRST or _FULL[0] in segments or len(segments) != 1:
            _refuse("the first page of a stream is not its head alone")
        self.serial = serial
        self.audio = False
        self._skipped = _pre_skip(body)
        self._next = (sequence + 1) & _ONES
        self._ended = flags & _LAST
        self._open = False  # whether the last packet goes on in the next page
        self._tags_begun = False
        self._packets = 0
        self._first: int | None = None  # the granule before the first sample
        self._granule = 0

    def take_tags(self, flags: int, sequence: int, segments: bytearray, beginning: bytearray) -> None:
        """A page of tags, with the first bytes of its body."""
        ending = self._follow(flags, sequence, segments)
        if not self._tags_begun and not (beginning.startswith(b"OpusTags") and segments[0] >= len(beginning)):
            _refuse("the second packet is not that of tags")
        self._tags_begun = True
        self.audio = ending == 1 and not self._open
        if ending > 1 or (ending and self._open):
            _refuse("audio begins on the page of the tags")

    def take(self, flags: int, granule: int, sequence: int, segments: bytearray) -> None:
        """A page of audio."""
        ending = self._follow(flags, sequence, segments)
        if (granule == _NO_PACKET_ENDS) == (ending > 0):
            _refuse("a page has a position and no packet that ends, or the other way round")
        if not ending:
            return
        if self._first is None:
            # A stream that was cut out of a longer one begins late: then its first page does not count.
            self._first = granule if granule > ending * _LONGEST_PACKET else 0
            self._granule = self._first
        if granule < self._granule:
            _refuse("the positions of pages go back")
        self._granule = granule
        self._packets += ending

    def finish(self) -> int:
        """The samples of the stream, at 48 kHz. Raises Refused if it ends within its tags or a packet."""
        if self._open or not self.audio:
            _refuse("it ends within a packet")
        if self._first is None:
            return 0
        return max(0, min(self._granule - self._first, self._packets * _LONGEST_PACKET) - self._skipped)

    def _follow(self, flags: int, sequence: int, segments: bytearray) -> int:
        """Compare a page with the one before. Returns how many packets end in it."""
        if self._ended or sequence != self._next:
            _refuse("a page is missing, or follows the last one")
        if (flags & _CONTINUED) != self._open:
            _refuse("a packet is not continued where it should be")
        if 0 in segments and ((not segments[0] and not self._open) or _EMPTY_PACKET.search(segments)):
            _refuse("a packet has no bytes")
        self._next = (sequence + 1) & _ONES
        self._ended = flags & _LAST
        if segments:
            self._open = segments.endswith(_FULL)
        return len(segments) - segments.count(_FULL)


def _pre_skip(head: bytearray) -> int:
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
