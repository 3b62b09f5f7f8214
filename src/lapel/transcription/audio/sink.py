"""Where decoded samples go: counted, looked at, written down."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lapel.foundation.disk import is_disk_full
from lapel.foundation.subworker import Refusal, open_file
from lapel.transcription.audio.envelope import Levels, Peaks
from lapel.transcription.audio.messages import DISK, DISK_FULL, SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Generator
    from io import FileIO

    import numpy as np
    from numpy.typing import NDArray

    from lapel.transcription.audio.messages import Decode

# How much is written before it is asked again what is free.
_BETWEEN_LOOKS = 16 * 1024 * 1024


class Sink:
    """Takes 16 kHz mono samples, however many: what it holds of them is a byte every 50 ms."""

    def __init__(self, request: Decode, pcm: FileIO | None) -> None:
        self.peaks = Peaks()
        self.levels = Levels()
        self.samples = 0
        self._pcm = pcm
        self._most_seconds = request.max_seconds
        self._spare = request.spare_bytes
        self._unlooked = _BETWEEN_LOOKS

    @property
    def duration_ms(self) -> int:
        """Whole milliseconds so far."""
        return self.samples * 1000 // SAMPLE_RATE

    def take(self, samples: NDArray[np.int16]) -> None:
        """The next samples. Raises Refusal when there are too many of them, or when they find no room."""
        self.samples += len(samples)
        if self.samples > self._most_seconds * SAMPLE_RATE:
            raise Refusal(
                "processing_error",
                f"The audio is longer than {self._most_seconds / 3600:g} hours, the most that is processed."
                " Split it into shorter recordings.",
            )
        self.peaks.take(samples)
        self.levels.take(samples)
        if self._pcm is not None:
            self._write(self._pcm, samples.astype("<i2", copy=False).tobytes())

    def _write(self, pcm: FileIO, data: bytes) -> None:
        self._unlooked += len(data)
        if self._unlooked > _BETWEEN_LOOKS:
            self._unlooked = 0
            disk = os.fstatvfs(pcm.fileno())
            if disk.f_bavail * disk.f_frsize < self._spare:
                raise Refusal(DISK_FULL, "The disk for decoded audio is nearly full.")
        left = memoryview(data)
        try:
            while left:
                left = left[pcm.write(left) :]
        except OSError as error:
            raise _unwritten(error) from None


@contextmanager
def opened_sink(request: Decode) -> Generator[Sink]:
    """A sink that writes where the request says. Raises Refusal `disk_full` or `disk` when that cannot be."""
    if request.pcm is None:
        yield Sink(request, None)
        return
    try:
        pcm = open_file(request.pcm, "w")
    except OSError as error:
        raise _unwritten(error) from None
    with pcm:
        yield Sink(request, pcm)


def _unwritten(error: OSError) -> Refusal:
    code = DISK_FULL if is_disk_full(error) else DISK
    return Refusal(code, f"Decoded audio cannot be written: {error.strerror}.")
