"""Damage in MP3 and in AAC without a container (ADTS): bytes between frames that are no frame.

Sources: ISO/IEC 11172-3 and 13818-3 (MPEG audio frames), ISO/IEC 13818-7 (ADTS), id3.org (ID3, Lyrics3), the
Mp3tag documentation of APE tags. The frame with the number of frames is that of the encoders Xing and LAME.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.file_places import FilePlace, Unscannable

# Places at which a frame may begin and none does. In noise there is one in each 256 bytes.
_MOST_TRIED = 8_000_000
# A recording of a broadcast begins in the middle of a frame. Bytes: no frame is longer.
_LONGEST_FRAME = 8_192
# Bytes: a tag of Lyrics3 says its length in six digits. How many such tags of one file may lack their end.
_LONGEST_LYRICS = 1_000_000
_MOST_OPEN_LYRICS = 10
_MPEG_1, _MPEG_2 = 3, 2
_LAYER_1, _LAYER_3 = 3, 1
_KBITS = {  # by version 1 or other, and by layer
    (True, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


class _AudioFrame(NamedTuple):
    """`kind`: equal in all frames of a stream. `ms`: of the audio in it."""

    size: int
    kind: int
    ms: float


_Parse = Callable[[bytes], _AudioFrame | None]
_HEAD = 7  # bytes: the longer one of the two headers


def _mpeg_frame(head: bytes) -> _AudioFrame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, bits = head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 0 or rate == 3 or bits in (0, 15):
        return None
    hertz = _RATES[rate] >> (_MPEG_1 - version if version >= _MPEG_2 else 2)
    kbits = _KBITS[version == _MPEG_1, layer][bits]
    padding = head[2] >> 1 & 1
    if layer == _LAYER_1:
        return _AudioFrame((12_000 * kbits // hertz + padding) * 4, head[1] & 0x1E, 384_000 / hertz)
    samples = 576 if layer == _LAYER_3 and version != _MPEG_1 else 1_152
    return _AudioFrame(
        samples * 125 * kbits // hertz + padding, head[1] & 0x1E | rate << 8, samples * 1000 / hertz
    )


def _adts_frame(head: bytes) -> _AudioFrame | None:
    if len(head) < _HEAD or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 >= len(_AAC_RATES):
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    samples = 1_024 * ((head[6] & 3) + 1)
    kind = head[1] & 0x08 | (head[2] & 0xFC) << 8
    return _AudioFrame(size, kind, samples * 1000 / _AAC_RATES[head[2] >> 2 & 15]) if size > _HEAD else None


class _FrameWalk:
    """Goes from frame to frame."""

    def __init__(self, source: ByteSource, parse: _Parse) -> None:
        self._source = source
        self._parse = parse
        self._tried = 0
        self._kind: int | None = None
        self.ms = 0.0  # of the frames so far
        self.bytes = self.frames = 0

    def frame(self, at: int) -> _AudioFrame | None:
        """The frame here, if it is of the stream."""
        found = self._parse(self._source.read(at, _HEAD))
        return found if found is not None and self._kind in (None, found.kind) else None

    def joined_frame(self, at: int) -> _AudioFrame | None:
        """The frame here, if it is the first of another file that was joined: one of its kind follows."""
        found = self._parse(self._source.read(at, _HEAD))
        following = None if found is None else self._parse(self._source.read(at + found.size, _HEAD))
        return found if found is not None and following is not None and following.kind == found.kind else None

    def take(self, frame: _AudioFrame) -> None:
        self._kind = frame.kind
        self.ms += frame.ms
        self.bytes += frame.size
        self.frames += 1

    def next_frame(self, at: int) -> int | None:
        """Where the next frame begins that another frame, a tag or the end of the file follows."""
        while (found := self._source.find(b"\xff", at)) is not None:
            self._tried += 1
            if self._tried > _MOST_TRIED:
                raise Unscannable
            frame = self.frame(found)
            if frame is not None and self._goes_on(found + frame.size, frame.kind):
                return found
            at = found + 1
        return None

    def _goes_on(self, at: int, kind: int) -> bool:
        following = self._parse(self._source.read(at, _HEAD))
        if following is not None:
            return following.kind == kind
        return at == self._source.size or self._source.is_tag(at)

    def estimate(self, count: int) -> int | None:
        """Milliseconds of audio that so many bytes of this stream hold.

        None for less than two frames: the rest of a frame, before which any number of bytes may be missing.
        """
        if not self.frames or count * self.frames < 2 * self.bytes:
            return None
        return round(count * self.ms / self.bytes)


class FrameScan:
    """Reads the frames of a file in order. `claimed_ms`: as its first frame says; None if it does not."""

    def __init__(self, source: ByteSource, *, is_adts: bool) -> None:
        self._source = source
        self._walk = _FrameWalk(source, _adts_frame if is_adts else _mpeg_frame)
        # FFmpeg's places of ADTS frames behind garbage are wrong, so that time tells where they are.
        self._tells_time = is_adts
        self._open_lyrics = 0
        self.claimed_ms: int | None = None

    def places(self) -> Iterator[FilePlace]:
        """The damage of the file, in order. Raises Unscannable and OSError.

        How much audio is missing is estimated from the number of damaged bytes.
        """
        source, walk = self._source, self._walk
        begin = self._after_tags(0)
        at = walk.next_frame(begin)
        if at is None:
            raise Unscannable
        if at - begin > _LONGEST_FRAME or (at > begin and walk.frame(begin) is not None):
            yield FilePlace("corrupt_bytes", begin, at)
        claimed = _claimed_frames(source, at)
        while at < source.size:
            frame = walk.frame(at) or walk.joined_frame(at)
            if frame is not None and at + frame.size <= source.size:
                if claimed is not None:
                    self.claimed_ms, claimed = round((claimed + 1) * frame.ms), None
                walk.take(frame)
                at += frame.size
                continue
            behind = at if frame is not None else self._after_tags(at)
            if behind == at:
                place = self._garbage(at)
                if place is None:
                    return
                yield place
                behind = place.at
            at = behind

    def _garbage(self, at: int) -> FilePlace | None:
        """The damage here, where no whole frame is; None for unused space at the end."""
        source, walk = self._source, self._walk
        if source.is_padding(at):
            return None
        following = walk.next_frame(at + 1)
        if following is None:
            return FilePlace("cut", at, source.size)
        lost = walk.estimate(following - at)
        return FilePlace("gap", at, following, lost, round(walk.ms) if self._tells_time else None)

    def _after_tags(self, at: int) -> int:
        """The place behind all tags that begin here."""
        source = self._source
        while True:
            head = source.read(at, 32)
            if head.startswith(b"ID3") and len(head) >= 10 and max(head[6:10]) < 128:
                size = 0
                for byte in head[6:10]:
                    size = size << 7 | byte
                at += 10 + size + (10 if head[5] & 0x10 else 0)
            elif head.startswith(b"TAG"):
                at += 128
            elif head.startswith(b"APETAGEX") and len(head) == 32:
                size, _, flags = struct.unpack_from("<III", head, 12)
                at += 32 + (size if flags & 1 << 29 else 0)
            elif head.startswith(b"LYRICSBEGIN") and (end := self._end_of_lyrics(at)) is not None:
                at = end
            else:
                return at

    def _end_of_lyrics(self, at: int) -> int | None:
        """The end of the tag of Lyrics3 that begins here; None if it has none, or others had none."""
        if self._open_lyrics >= _MOST_OPEN_LYRICS:
            return None
        found = self._source.find(b"LYRICS200", at, _LONGEST_LYRICS)
        if found is None:
            self._open_lyrics += 1
            return None
        return found + 9


def _claimed_frames(source: ByteSource, at: int) -> int | None:
    """The number of frames that the first frame says; it does not count itself."""
    head = source.read(at, 64)
    for offset in (36, 21, 13, 32, 17):
        if (
            head[offset : offset + 4] in (b"Xing", b"Info")
            and len(head) >= offset + 12
            and head[offset + 7] & 1
        ):
            return struct.unpack_from(">I", head, offset + 8)[0] or None
    if head[36:40] == b"VBRI" and len(head) >= 54:
        return struct.unpack_from(">I", head, 50)[0] or None
    return None
