"""The waveform of a recording: one byte for each equal share of its time."""

from __future__ import annotations

# Peaks kept of a recording: as many as the contract's largest `points`.
MOST_PEAKS = 4_000


def resample(peaks: bytes, points: int) -> list[float]:
    """The waveform in `points` values, each the loudest of its share of the time, 0 to 1 with 3 digits.

    `peaks`: one byte for each equal share of the time, 255 is full scale; no peaks give zeros. If `points` is
    more than `len(peaks)`, values repeat.
    """
    count = len(peaks)
    if not count:
        return [0.0] * points
    # A share that begins or ends within a peak's share includes that peak.
    edges = range(0, points * count, count)
    return [round(max(peaks[at // points : -(-(at + count) // points)]) / 255, 3) for at in edges]
