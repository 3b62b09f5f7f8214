"""Counts decoded samples, summarises them as peaks and levels, and writes them to a file."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lapel.foundation.core.disk_guard import is_disk_full
from lapel.foundation.workers.worker_child import Refusal, open_file
from lapel.slices.transcription.audio.decoder_messages import DISK, DISK_FULL, SAMPLE_RATE
from lapel.slices.transcription.audio.envelope import Levels, Peaks

if TYPE_CHECKING:
    from collections.abc import Generator
    from io import FileIO

    import numpy as np
    from numpy.typing import NDArray

    from lapel.slices.transcription.audio.decoder_messages import Decode

# Bytes written between two checks of the free disk space.
_BETWEEN_LOOKS = 16 * 1024 * 1024


class Sink:
    """Takes any number of samples (16 kHz, mono). In memory it keeps one byte for every 50 ms.

    `pcm`: open file for the samples; None to write none.
    """

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
        """Add the next samples, 1-D int16.

        Raises Refusal `processing_error` when the audio is longer than `max_seconds`, `disk_full` when the
        disk is full or nearly full, and `disk` when the disk fails otherwise.
        """
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
    """A sink that writes the samples to the file whose path is in `request.pcm`.

    If this path is None, the sink writes no file.

    Raises Refusal `disk_full` or `disk` when the file cannot be opened.
    """
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
