"""Checks that bytes are Ogg with Opus, as they pass by, and finds their duration.

Nothing is decoded: the check reads frames and checksums, in constant memory, and its work is linear in the
number of bytes. Sources: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg). Chained streams are allowed, one after the
other; multiplexed streams, lost pages and a last page that is cut are not.
"""

from __future__ import annotations

import struct
from typing import Final, NoReturn

from fastcrc import crc32

from lapel.slices.encrypted_uploads.documents.failures import Refused

# Capture pattern, version, flags, granule, serial, sequence, checksum, number of segments.
_HEADER: Final = struct.Struct("<4sBBqIIIB")
_CAPTURE: Final = b"OggS"
_HEADER_LENGTH: Final = 27
# The checksum of a page counts its own field as zero.
_CRC_AT: Final = 22
_AFTER_CRC: Final = 26
_NO_CRC: Final = bytes(4)
_checksum = crc32.mpeg_2  # the polynomial and the order of bits are those of Ogg, which begins with zero
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_FULL = b"\xff"  # a segment of 255 bytes, which its packet continues
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
        self._waiting = b""  # the begin of a page
        self._samples = 0  # of the streams that have ended
        self._stream: _Stream | None = None

    def feed(self, data: bytes | memoryview) -> None:
        """Raises Refused (`integrity_failed`) at the first byte that no Ogg with Opus has."""
        view = memoryview(data)
        for at in range(0, len(view), _AT_ONCE):
            self._take(self._waiting + view[at : at + _AT_ONCE])

    def _take(self, data: bytes) -> None:
        view, size, at = memoryview(data), len(data), 0
        while size - at >= _HEADER_LENGTH:
            capture, version, flags, granule, serial, sequence, said, count = _HEADER.unpack_from(data, at)
            if capture != _CAPTURE or version or flags > _CONTINUED | _FIRST | _LAST:
                _refuse("a page does not begin as pages do")
            body_at = at + _HEADER_LENGTH + count
            segments = data[at + _HEADER_LENGTH : body_at]
            end = body_at + sum(segments)
            if end > size or len(segments) < count:
                break
            head = _checksum(data[at : at + _CRC_AT] + _NO_CRC, 0)
            if _checksum(view[at + _AFTER_CRC : end], head) != said:
                _refuse("the checksum of a page is not that of its bytes")
            stream = self._stream
            if flags & _FIRST:
                self._begin(_Stream(serial, sequence, flags, segments, data[body_at:end]))
            elif stream is None or serial != stream.serial:
                _refuse("a page belongs to no stream, or to another one")
            elif stream.audio:
                stream.take(flags, granule, sequence, segments)
            else:
                stream.take_tags(flags, sequence, segments, data[body_at : min(body_at + 8, end)])
            at = end
        self._waiting = data[at:]
        if not _CAPTURE.startswith(self._waiting[: len(_CAPTURE)]):
            _refuse("a page does not begin as pages do")

    def finish(self) -> int:
        """The duration in milliseconds. Raises Refused (`integrity_failed`) if the bytes end too early."""
        if self._waiting or self._stream is None:
            _refuse("it ends within a page" if self._waiting else "it is empty")
        return (self._samples + self._stream.finish()) * 1000 // _RATE

    def _begin(self, stream: _Stream) -> None:
        if self._stream is not None:
            self._samples += self._stream.finish()
        self._stream = stream


class _Stream:
    """One logical stream, from the page with its head on. `audio`: whether its tags are complete."""

    def __init__(self, serial: int, sequence: int, flags: int, segments: bytes, body: bytes) -> None:
        if flags & ~_LAST != _FIRST or _FULL[0] in segments or len(segments) != 1:
            _refuse("the first page of a stream is not its head alone")
        self.serial = serial
        self.audio = False
        self._skipped = _pre_skip(body)
        self._sequence = sequence
        self._ended = bool(flags & _LAST)
        self._open = False  # whether the last packet goes on in the next page
        self._tags_begun = False
        self._packets = 0
        self._first: int | None = None  # the granule before the first sample
        self._granule = 0

    def take_tags(self, flags: int, sequence: int, segments: bytes, beginning: bytes) -> None:
        """A page of tags, with the first bytes of its body."""
        ending = self._follow(flags, sequence, segments)
        if not self._tags_begun and not (beginning == b"OpusTags" and segments[0] >= len(beginning)):
            _refuse("the second packet is not that of tags")
        self._tags_begun = True
        self.audio = ending == 1 and not self._open
        if ending > 1 or (ending and self._open):
            _refuse("audio begins on the page of the tags")

    def take(self, flags: int, granule: int, sequence: int, segments: bytes) -> None:
        """A page of audio."""
        ending = self._follow(flags, sequence, segments)
        if (ending == 0) != (granule == _NO_PACKET_ENDS):
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

    def _follow(self, flags: int, sequence: int, segments: bytes) -> int:
        """Compare a page with the one before. Returns how many packets end in it."""
        if self._ended or sequence != (self._sequence + 1) & _ONES:
            _refuse("a page is missing, or follows the last one")
        if bool(flags & _CONTINUED) != self._open:
            _refuse("a packet is not continued where it should be")
        self._sequence = sequence
        self._ended = bool(flags & _LAST)
        if segments:
            self._open = segments.endswith(_FULL)
        return len(segments) - segments.count(_FULL)


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
