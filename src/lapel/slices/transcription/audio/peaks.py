"""The waveform of a recording: one byte for each equal share of its time."""

from __future__ import annotations

# The most peaks that are kept of a recording. This is also the contract's largest `points`.
MOST_PEAKS = 4_000


def resample(peaks: bytes, points: int) -> list[float]:
    """The waveform as `points` values: the loudest peak of each equal share of the time.

    The values are 0 to 1, with 3 digits. `peaks`: one byte for each equal share of the time; 255 is full
    scale. If `peaks` is empty, all values are 0. If `points` is more than `len(peaks)`, values repeat.
    """
    count = len(peaks)
    if not count:
        return [0.0] * points
    # A share that begins or ends within a peak's share includes that peak.
    edges = range(0, points * count, count)
    return [round(max(peaks[at // points : -(-(at + count) // points)]) / 255, 3) for at in edges]
