"""Frames of any rate, format and number of channels, which may change in between, to 16 kHz mono."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from lapel.foundation.subworker import Refusal
from lapel.transcription.audio.messages import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Converted at a time: a third of a second at 48 kHz. One frame (20 ms) at a time costs a third more.
_CHUNK = 16_384

# Of more than two channels, only these say where each belongs; libswresample weighs them. All others are
# averaged: microphones of an array, or a layout it has no mix for.
_PLACED = frozenset({"3.0", "4.0", "5.0", "5.0(side)", "5.1", "5.1(side)", "7.1", "quad"})

# Outside of these nothing is a recording of speech, and a few bytes at 1 Hz are hours.
_RATES = range(1_000, 768_001)
_MOST_CHANNELS = 64


class Mixer:
    """Takes frames, gives samples; holds some hundred kilobytes."""

    def __init__(self) -> None:
        self._shape: tuple[str, str, int, int] | None = None
        self._waiting = AudioFifo()
        self._resampler = AudioResampler()
        self._average = False

    def put(self, frame: AudioFrame) -> Iterator[NDArray[np.int16]]:
        """Samples that are ready after the next frame. Raises Refusal for rates beyond reason."""
        layout = frame.layout
        shape = (frame.format.name, layout.name, layout.nb_channels, frame.sample_rate)
        if shape != self._shape:
            yield from self.finish()
            self._begin(shape)
        frame.pts = None  # gaps in time are closed: a queue takes no other frames
        self._waiting.write(frame)
        while (chunk := self._waiting.read(_CHUNK)) is not None:
            yield from self._convert(chunk)

    def finish(self) -> Iterator[NDArray[np.int16]]:
        """What is left."""
        if (rest := self._waiting.read(0, partial=True)) is not None:
            yield from self._convert(rest)
        yield from self._resample(None)

    def _begin(self, shape: tuple[str, str, int, int]) -> None:
        _, layout, channels, rate = self._shape = shape
        if rate not in _RATES:
            raise Refusal("unsupported_format", f"A sample rate of {rate} Hz is not supported.")
        if not 1 <= channels <= _MOST_CHANNELS:
            raise Refusal("unsupported_format", f"Audio of {channels} channels is not supported.")
        self._average = channels > 2 and layout not in _PLACED
        # A queue would read past the end of a frame with fewer channels, so that it never outlives a shape.
        self._waiting = AudioFifo()
        self._resampler = AudioResampler("s16", "mono", SAMPLE_RATE)

    def _convert(self, frame: AudioFrame) -> Iterator[NDArray[np.int16]]:
        yield from self._resample(_averaged(frame) if self._average else frame)

    def _resample(self, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
        try:
            # Where there is nothing to convert, what comes back is what was put in: None at the end.
            ready = cast("list[AudioFrame | None]", self._resampler.resample(frame))
        except MemoryError:
            raise
        except FFmpegError:
            raise Refusal(
                "unsupported_format", "The channels or samples of this audio are of an unknown kind."
            ) from None
        for each in ready:
            if each is not None:
                yield cast("NDArray[np.int16]", each.to_ndarray()).reshape(-1)


def _averaged(frame: AudioFrame) -> AudioFrame:
    """The mean of all channels."""
    channels = frame.layout.nb_channels
    try:
        values = cast("NDArray[Any]", frame.to_ndarray())
    except ValueError:
        raise Refusal("unsupported_format", f"{frame.format.name} samples are not supported.") from None
    apart = values if frame.format.is_planar else values.reshape(-1, channels).T
    mean = apart.mean(axis=0, dtype=np.float32)
    if apart.dtype == np.uint8:
        mean = (mean - 128) / 128
    elif apart.dtype.kind == "i":
        mean /= -float(np.iinfo(apart.dtype).min)
    mixed = AudioFrame.from_ndarray(mean.reshape(1, -1), "flt", "mono")
    mixed.sample_rate = frame.sample_rate
    return mixed
