"""Samples of speech: decoded from a file, and faster than they were."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.filter import Graph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 16_000  # Hz


def decoded(path: Path, *, form: str | None = None) -> NDArray[np.int16]:
    """The samples of an audio file: 16 kHz, mono. `form`: its format, if its bytes do not tell it."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(path), format=form) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([cast("NDArray[np.int16]", frame.to_ndarray()).reshape(-1) for frame in frames])


def faster(samples: NDArray[np.float64], times: float) -> NDArray[np.float64]:
    """The samples (1-D, -1 to 1) at so many times their speed, with the same pitch, by FFmpeg's `atempo`."""
    graph = Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="dbl", layout="mono", time_base=Fraction(1, RATE))
    graph.link_nodes(source, graph.add("atempo", str(times)), graph.add("abuffersink")).configure()
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="dbl", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    graph.push(frame)
    graph.push(None)
    parts: list[NDArray[np.float64]] = []
    with contextlib.suppress(EOFError):
        while True:
            parts.append(cast("av.AudioFrame", graph.pull()).to_ndarray().reshape(-1).astype(np.float64))
    return np.concatenate(parts)
