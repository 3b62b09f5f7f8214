"""Reads a file of any size through one window of memory."""

from __future__ import annotations

import os
import time

from lapel.slices.transcription.audio.damage.file_places import Unscannable

_BLOCK = 4096
_WINDOW = 256 * 1024
# Seconds of processor time for one file: an hour of MP3 takes 0.13. The readers bound their own work by what
# they have read; this is the bound of what nobody has thought of.
_SECONDS = 30.0
_LOOKS_BETWEEN = 256


class ByteSource:
    """The bytes of an open file. Reads by position, so that another reader of the file is not disturbed.

    `size`: of the file, in bytes. Methods raise OSError when the file cannot be read, and Unscannable when
    all looks together took more than `seconds` of processor time.
    """

    def __init__(self, descriptor: int, size: int, *, seconds: float = _SECONDS) -> None:
        self._descriptor = descriptor
        self._until = time.process_time() + seconds
        self._looks = 0
        self.size = size
        self._begin = 0
        self._window = b""

    def read(self, at: int, count: int) -> bytes:
        """The bytes from `at` on: `count` of them, or fewer at the end of the file and none beyond it."""
        if at >= self.size:  # a header's size may lead further than the kernel counts
            return b""
        start = self._cover(at, count)
        return self._window[start : start + count]

    def find(self, mark: bytes, at: int, within: int | None = None) -> int | None:
        """Where `mark` is next, from `at` on; None if it begins nowhere `within` so many bytes."""
        end = self.size if within is None else min(at + within, self.size)
        while at < end:
            start = self._cover(at, len(mark))
            found = self._window.find(mark, start, end - self._begin + len(mark) - 1)
            if found >= 0:
                return self._begin + found
            at += max(len(self._window) - start - len(mark) + 1, 1)
        return None

    def _cover(self, at: int, count: int) -> int:
        """Move the window unless it has these bytes. Returns the place of the first one in the window."""
        self._looks += 1
        if self._looks % _LOOKS_BETWEEN == 0 and time.process_time() > self._until:
            raise Unscannable
        start = at - self._begin
        if start < 0 or start + count > len(self._window):
            self._begin, start = at, 0
            self._window = os.pread(self._descriptor, max(count, _WINDOW), at)
        return start

    def is_padding(self, at: int) -> bool:
        """Whether only zeros follow, and so few that they fill up a block. More of them are space that was
        reserved and never written, as after a loss of power."""
        return self.size - at < _BLOCK and self.only_zeros(at)

    def only_zeros(self, at: int) -> bool:
        """Whether nothing but zeros follows."""
        if self.read(at, 16).strip(b"\0"):
            return False
        while piece := self.read(at, _WINDOW):
            if piece.strip(b"\0"):
                return False
            at += len(piece)
        return True

    def is_tag(self, at: int) -> bool:
        """Whether a tag of ID3v1 or APE is here, which programs append to files of any format."""
        return self.read(at, 8).startswith((b"TAG", b"APETAGEX", b"LYRICSBE", b"ID3"))
