"""Damage in Ogg files: page numbers, checksums and granule positions.

Sources: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg), RFC 6716 (Opus packets).

A file may end without the flag that ends a stream, because devices and browsers that record live cannot know
which page is the last. A file may hold several streams, one after the other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from fastcrc import crc32

from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.file_places import FilePlace, Unscannable

_HEAD = struct.Struct("<4sBBqIII")  # mark, version, flags, granule, stream, number, checksum
_CONTINUED, _FIRST, _LAST = 1, 2, 4
# The rates of granule positions: Opus has always 48 kHz, the others name their rate at a place of their head.
_OPUS = b"OpusHead"
_RATES = {b"\x01vorbis": ("<I", 12), b"Speex   ": ("<I", 36), b"\x7fFLAC": (">I", 27)}
_OPUS_RATE = 48_000
_HEADERS_OF_OPUS = 2
# Milliseconds: a jump of granule positions without another sign of damage counts from this length on.
_LEAST_JUMP_MS = 100
# Bytes beyond the file's size that may be read again to find the next page behind garbage.
_MOST_AGAIN = 64 * 1024 * 1024
# What the look at a mark that begins no page counts, in bytes.
_LEAST_CHARGE = 64
_MOST_STREAMS = 1_000
_MOST_JUMPS = 1_000


class _WholePage(NamedTuple):
    at: int
    size: int
    flags: int
    granule: int
    stream: int
    number: int
    lengths: bytes
    body: bytes


class _Reader:
    """Reads pages, and limits the work on bytes that are none."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self._left = source.size + _MOST_AGAIN

    def page(self, at: int) -> _WholePage | None:
        """The page here; None if there is none, or if it is damaged or torn."""
        head = self.source.read(at, _HEAD.size + 1)
        if len(head) <= _HEAD.size or not head.startswith(b"OggS\0"):
            return None
        _, _, flags, granule, stream, number, expected = _HEAD.unpack_from(head)
        lengths = self.source.read(at + len(head), head[-1])
        begin = len(head) + len(lengths)
        size = begin + sum(lengths)
        if len(lengths) < head[-1] or at + size > self.source.size:
            return None
        whole = self.source.read(at, size)
        # The checksum of a page counts its own field as zero.
        if crc32.mpeg_2(whole[:22] + bytes(4) + whole[26:], 0) != expected:
            self._charge(size)
            return None
        return _WholePage(at, size, flags, granule, stream, number, lengths, whole[begin:])

    def _charge(self, count: int) -> None:
        """Count work on bytes that are no page. Raises Unscannable when it is too much for this file."""
        self._left -= count
        if self._left < 0:
            raise Unscannable

    def next_page(self, at: int) -> _WholePage | None:
        """The first whole page from `at` on."""
        while (found := self.source.find(b"OggS", at)) is not None:
            page = self.page(found)
            if page is not None:
                return page
            self._charge(_LEAST_CHARGE)
            at = found + 1
        return None


class _OggStream:
    """One stream of audio, page by page. `rate`: of granule positions, in Hz."""

    def __init__(self, page: _WholePage, rate: int, *, opus: bool) -> None:
        self._rate = rate
        self._opus = opus
        self._number = page.number
        self._granule: int | None = None
        self._samples = 0  # since that granule position
        self._headers_left = _HEADERS_OF_OPUS
        self._open = 0  # samples of the packet that goes on in the next page
        self._suspect = False  # pages are lost since that granule position
        self._steps = self._stepped = 0  # granule steps over whole pages, and their sum
        self.is_suspect = False  # there was another sign of damage before the last page
        self.ended = False
        self.is_torn = False  # the last packet goes on in a page that is not here
        self.take(page, after_garbage=False)

    def take(self, page: _WholePage, *, after_garbage: bool) -> int | None:
        """Add the next page. Returns the samples that are missing before it: 0 for none, None for an unknown
        number."""
        lost = page.number > self._number + 1
        self._suspect = self._suspect or lost or after_garbage
        self._number = page.number
        self.ended = bool(page.flags & _LAST)
        self.is_torn = bool(page.lengths) and page.lengths[-1] == 255 and not self.ended
        if self._opus:
            self._samples += self._completed(page)
        if page.granule <= 0:  # headers, or no packet ends in this page
            return 0
        missing = self._missing(page)
        known = self._granule is not None
        if known and not self._suspect and missing == 0 and not self._opus:
            self._steps, self._stepped = self._steps + 1, self._stepped + page.granule - (self._granule or 0)
        self.is_suspect, self._suspect = self._suspect, False
        self._granule, self._samples = page.granule, 0
        if self.is_suspect:
            return missing
        return missing if missing and missing * 1000 >= _LEAST_JUMP_MS * self._rate else 0

    def _missing(self, page: _WholePage) -> int | None:
        """Samples between the last page and this one, beyond those in this page."""
        if self._granule is None and not self._suspect:
            return 0  # a recording of a stream that had begun before
        step = page.granule - (self._granule or 0)
        if self._opus:
            return max(step - self._samples, 0)
        if not self._suspect:
            return 0
        if not self._steps:
            return None
        return max(step - self._stepped // self._steps, 0)

    def _completed(self, page: _WholePage) -> int:
        """Samples of the Opus packets that end in this page."""
        total, begin, at = 0, 0, 0
        continued = bool(page.flags & _CONTINUED)
        for length in page.lengths:
            at += length
            if length == 255:
                continue
            if self._headers_left:
                self._headers_left -= 1
            else:
                total += self._open if continued and not begin else _samples(page.body[begin:at])
            begin, continued, self._open = at, False, 0
        if at > begin and not (continued and not begin):
            self._open = _samples(page.body[begin : begin + 2])
        return total

    def milliseconds(self, samples: int | None) -> int | None:
        return None if samples is None else samples * 1000 // self._rate


def _samples(packet: bytes) -> int:
    """Samples of an Opus packet at 48 kHz (RFC 6716, section 3.1)."""
    if not packet:
        return 0
    configuration = packet[0] >> 3
    if configuration < 12:
        frame = (480, 960, 1920, 2880)[configuration & 3]
    elif configuration < 16:
        frame = (480, 960)[configuration & 1]
    else:
        frame = (120, 240, 480, 960)[configuration & 3]
    code = packet[0] & 3
    if code < 3:
        return frame * (1 if code == 0 else 2)
    return frame * (packet[1] & 63) if len(packet) > 1 else 0


def _stream_of(page: _WholePage) -> _OggStream | None:
    """The stream that this page begins; None for anything but audio."""
    if page.body.startswith(_OPUS):
        return _OggStream(page, _OPUS_RATE, opus=True)
    for mark, (form, at) in _RATES.items():
        if page.body.startswith(mark) and len(page.body) >= at + 4:
            rate: int = struct.unpack_from(form, page.body, at)[0]
            rate = rate >> 12 if mark == b"\x7fFLAC" else rate  # 20 bits
            return _OggStream(page, rate, opus=False) if rate else None
    return None


def _begin_stream(streams: dict[int, _OggStream], page: _WholePage) -> None:
    begun = _stream_of(page)
    if begun is not None:
        streams[page.stream] = begun
    if len(streams) > _MOST_STREAMS:
        raise Unscannable


def scan_ogg(source: ByteSource) -> Iterator[FilePlace]:
    """The damage of an Ogg file. Jumps of time between whole pages come last. Raises Unscannable and OSError.

    If half of the pages jump, the program that wrote them counts time in its own way, and nothing is missing.
    """
    reader, streams, at = _Reader(source), dict[int, _OggStream](), 0
    pages = jumped = 0
    jumps: list[FilePlace] = []
    while at < source.size:
        page, begin = reader.page(at), at
        after_garbage = page is None
        if page is None:
            page = reader.next_page(at + 1)
        if page is None:
            break
        at = page.at + page.size
        if page.flags & _FIRST:
            _begin_stream(streams, page)
            if after_garbage:
                yield FilePlace("corrupt_bytes", begin, page.at)
            continue
        stream = streams.get(page.stream)
        missing = 0 if stream is None else stream.milliseconds(stream.take(page, after_garbage=after_garbage))
        pages += 1
        if missing and stream is not None and not stream.is_suspect:
            jumped += 1
            if jumped <= _MOST_JUMPS:
                jumps.append(FilePlace("gap", begin, page.at, missing))
        elif missing is None or missing > 0:
            yield FilePlace("gap", begin, page.at, missing)
        elif after_garbage:
            yield FilePlace("corrupt_bytes", begin, page.at, 0)
    yield from _end(source, at, streams)
    if jumped * 2 < pages:
        yield from jumps


def _end(source: ByteSource, at: int, streams: dict[int, _OggStream]) -> Iterator[FilePlace]:
    """The damage behind the last whole page, which ends at `at`."""
    open_streams = [each for each in streams.values() if not each.ended]
    if at >= source.size or source.is_tag(at):
        if any(each.is_torn for each in open_streams):
            yield FilePlace("cut", at, source.size)
    elif open_streams or not streams:
        yield FilePlace("cut", at, source.size)
    elif not source.only_zeros(at):
        yield FilePlace("corrupt_bytes", at, source.size, 0)
