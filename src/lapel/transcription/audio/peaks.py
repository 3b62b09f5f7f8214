"""The waveform of a recording, as one byte a share of its time."""

from __future__ import annotations

# What is kept of a recording: enough for the most points that the contract lets anybody ask for.
MOST_PEAKS = 4_000


def resample(peaks: bytes, points: int) -> list[float]:
    """The waveform in so many points, each the loudest of its share of the time, 0 to 1 with 3 digits.

    A point whose share is shorter than a peak's repeats it. All zero when there are no peaks.
    """
    count = len(peaks)
    if not count:
        return [0.0] * points
    # A share that begins or ends within a peak's share hears it too.
    edges = range(0, points * count, count)
    return [round(max(peaks[at // points : -(-(at + count) // points)]) / 255, 3) for at in edges]
