"""Two summaries of a stream of samples: peaks for the waveform, levels for finding silences.

Samples: 1-D int16, 16 kHz, mono.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lapel.slices.transcription.audio.decoder_messages import SAMPLE_RATE
from lapel.slices.transcription.audio.peaks import MOST_PEAKS
from lapel.slices.transcription.audio.pieces import LEVEL_MS, level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

# At least eight fine shares for each of the 4,000 peaks, so that the edges of a peak are off by little.
_FINE = 65_536
_LEVEL_SAMPLES = SAMPLE_RATE * LEVEL_MS // 1000


class Peaks:
    """Collects the waveform of audio whose length is not known in advance, in 128 KiB.

    Keeps the loudest sample of each of many fine, equal shares. If there are too many shares, each two
    neighbours are merged.
    """

    def __init__(self) -> None:
        self._fine = np.zeros(_FINE + 1, np.uint16)  # one more, for the last share, which may be short
        self._count = 0
        self._width: int = 1  # samples in a fine share
        self._rest = np.zeros(0, np.uint16)  # the last samples, fewer than `_width`
        self._total = 0

    def take(self, samples: Samples) -> None:
        """Add the next samples."""
        self._total += len(samples)
        # In 32 bits first, because -32,768 has no positive counterpart in 16 bits.
        loud = np.concatenate((self._rest, np.abs(samples.astype(np.int32)).astype(np.uint16)))
        while len(loud) >= self._width:
            whole = min(len(loud) // self._width, _FINE - self._count)
            heard = loud[: whole * self._width].reshape(whole, self._width)
            self._fine[self._count : self._count + whole] = heard.max(axis=1)
            self._count += whole
            loud = loud[whole * self._width :]
            if self._count == _FINE:
                self._fine[: _FINE // 2] = np.maximum(self._fine[:_FINE:2], self._fine[1:_FINE:2])
                self._count //= 2
                self._width *= 2
        self._rest = loud

    def finish(self) -> bytes:
        """At most 4,000 bytes, each the loudest sample of an equal share of the time; 255 is full scale.

        Up to four seconds of audio, the result is exact. In longer audio, a share may also include up to an
        eighth of its length on either side.
        """
        if not self._total:
            return b""
        fine = np.append(self._fine[: self._count], self._rest.max(initial=0))
        shares = min(MOST_PEAKS, self._total)
        edges = np.arange(shares + 1, dtype=np.int64) * self._total // shares
        first, last = edges[:-1] // self._width, -(-edges[1:] // self._width)
        # reduceat takes starts and ends alternately; every second result lies between shares and is dropped.
        loudest = np.maximum.reduceat(np.append(fine, 0), np.stack((first, last), axis=1).ravel())[::2]
        return ((loudest.astype(np.int64) * 255 + 16_384) // 32_768).astype(np.uint8).tobytes()


class Levels:
    """Collects the loudness of every 50 ms, one byte each: 1.7 MB for a whole day."""

    def __init__(self) -> None:
        self._levels = bytearray()
        self._rest = np.zeros(0, np.int16)

    def take(self, samples: Samples) -> None:
        """Add the next samples."""
        heard = np.concatenate((self._rest, samples))
        whole = len(heard) // _LEVEL_SAMPLES * _LEVEL_SAMPLES
        self._keep(heard[:whole].reshape(-1, _LEVEL_SAMPLES))
        self._rest = heard[whole:]

    def finish(self) -> bytes:
        """The levels, encoded by `pieces.level`. The last level may stand for less than 50 ms."""
        if len(self._rest):
            self._keep(self._rest.reshape(1, -1))
            self._rest = self._rest[:0]
        return bytes(self._levels)

    def _keep(self, stretches: Samples) -> None:
        if len(stretches):
            scaled = stretches.astype(np.float32) / 32_768
            self._levels += level(np.square(scaled).mean(axis=1, dtype=np.float64)).tobytes()
