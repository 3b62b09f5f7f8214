"""Converts frames to 16 kHz mono. Rate, format and channel count may change from frame to frame.

Source: the filters `abuffer`, `pan`, `aformat` and `abuffersink` in the "FFmpeg Filters Documentation".
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import numpy as np
from av.audio.layout import AudioLayout
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NothingMore
from av.error import FFmpegError
from av.filter.graph import Graph

from lapel.foundation.workers.worker_child import Refusal
from lapel.slices.transcription.audio.decoder_messages import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from numpy.typing import NDArray

# Samples that are converted together, about a second; one frame (20 ms) at a time takes twice as long.
_CHUNK = 16_384

# In these layouts the position of each channel is known, and libswresample has weights for the channels. In
# all other layouts the channels are averaged: they are the microphones of an array, or libswresample has no
# weights for them.
_PLACED = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.0(side)", "5.1", "5.1(side)", "7.1", "quad"})

# Bounds on the sample rate (Hz) and on the number of channels; no recording of speech is outside them. At
# 1 Hz a few bytes would be hours of audio. More channels or samples would be wasted work, because all audio
# becomes one channel at 16 kHz.
_RATES = range(1_000, 192_001)
_MOST_CHANNELS = 8

# Decoders that take the layout from the data and ignore the layout that they are given.
_OWN_LAYOUT = frozenset({"aac", "aac_latm", "libopus", "opus"})


class Mixer:
    """Takes frames and gives samples. It holds some hundred kilobytes.

    A filter graph does the work, not `AudioFifo`, `AudioResampler` and `to_ndarray`: these three read past
    the end of a frame that has more than eight planes, or fewer channels than the frame before.
    """

    def __init__(self) -> None:
        self._shape: tuple[str, str, int, int] | None = None
        self._graph: Graph | None = None
        self._unmixed = 0  # samples since the graph was last read

    def put(self, frame: AudioFrame) -> Iterator[NDArray[np.int16]]:
        """Add a frame, and yield the samples that are ready: 1-D int16 arrays, 16 kHz, mono.

        Raises Refusal `unsupported_format` when the sample rate, the channel count or the sample format is
        not supported.
        """
        layout = frame.layout
        shape = (frame.format.name, layout.name, layout.nb_channels, frame.sample_rate)
        if self._graph is None or shape != self._shape:
            yield from self.finish()
            self._shape, self._graph = shape, _graph(*shape)
        frame.pts = None  # gaps in time are closed
        with _impossible_is_refused():
            self._graph.push(frame)
        self._unmixed += frame.samples
        if self._unmixed >= _CHUNK:
            self._unmixed = 0
            yield from _pulled(self._graph)

    def finish(self) -> Iterator[NDArray[np.int16]]:
        """The remaining samples, as in `put`. Raises Refusal `unsupported_format`."""
        if self._graph is not None:
            with _impossible_is_refused():
                self._graph.push(None)
            yield from _pulled(self._graph)
            self._graph = None


def settle_layout(context: AudioCodecContext) -> None:
    """If the layout of an unopened decoder has a list of its channels, replace the layout by one without it.

    PyAV frees such a list more than once: with each frame, and again with each object that describes a
    frame's layout. So a few bytes of a header could crash the process, or worse. Raises Refusal
    `unsupported_format` when the decoder would make the list again, and for more than eight channels.
    """
    # Read `context.layout` only once: `layout` owns the list as soon as the decoder has another layout.
    layout = context.layout
    name, channels = layout.name, layout.nb_channels
    if channels:
        few = min(channels, _MOST_CHANNELS)
        context.layout = AudioLayout(name if name in _PLACED else f"{few} channels")
    _refuse_crowds(channels)
    if name.startswith("ambisonic") or (" channels (" in name and context.name in _OWN_LAYOUT):
        raise Refusal("unsupported_format", f"Audio whose channels are {name} is not supported.")


def _refuse_crowds(channels: int) -> None:
    if channels > _MOST_CHANNELS:
        raise Refusal("unsupported_format", f"Audio of {channels} channels is not supported; at most 8 are.")


def _graph(sample_format: str, layout: str, channels: int, rate: int) -> Graph:
    if rate not in _RATES:
        raise Refusal(
            "unsupported_format",
            f"A sample rate of {rate} Hz is not supported; 1,000 to 192,000 Hz are.",
        )
    _refuse_crowds(channels)
    graph = Graph()
    graph.threads = 1
    placed = layout in _PLACED
    source = {"channel_layout": layout} if placed else {"channels": str(channels)}
    with _impossible_is_refused():
        nodes = [graph.add("abuffer", sample_rate=str(rate), sample_fmt=sample_format, **source)]
        if not placed:
            mean = "+".join(f"{1 / channels:.6f}*c{each}" for each in range(channels))
            nodes.append(graph.add("pan", f"mono|c0={mean}"))
        result = {"sample_rates": str(SAMPLE_RATE), "sample_fmts": "s16", "channel_layouts": "mono"}
        nodes.append(graph.add("aformat", **result))
        nodes.append(graph.add("abuffersink"))
        graph.link_nodes(*nodes).configure()
        graph.set_audio_frame_size(_CHUNK)
    return graph


@contextmanager
def _impossible_is_refused() -> Generator[None]:
    try:
        yield
    except MemoryError:
        raise
    except FFmpegError:
        raise Refusal(
            "unsupported_format", "The samples or channels of this audio are of an unknown kind."
        ) from None


def _pulled(graph: Graph) -> Iterator[NDArray[np.int16]]:
    while True:
        try:
            frame = graph.pull()
        except (NothingYet, NothingMore):
            return
        yield cast("NDArray[np.int16]", frame.to_ndarray()).reshape(-1)
