"""Encodes a piece of decoded samples as a file to send."""

# PyAV's packets are generic over a type that its own signatures leave open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np

from lapel.slices.transcription.speech.messages import SAMPLE_RATE

if TYPE_CHECKING:
    from pathlib import Path

_BYTES_PER_MS = SAMPLE_RATE // 1000 * 2
_BLOCK = SAMPLE_RATE * 2  # one second
# Up to this length, the encoding is lossless: then even noise, which FLAC cannot shrink, is 19 MB.
_LOSSLESS_MS = 10 * 60_000


def encode(
    pcm: Path,
    start_ms: int,
    end_ms: int,
    folder: Path,
    *,
    most_bytes: int,
    lossless_ms: int = _LOSSLESS_MS,
) -> tuple[Path, str]:
    """Write a part of a PCM file (16 kHz, mono, signed 16-bit little-endian) as FLAC, or as Ogg/Opus.

    Parts longer than `lossless_ms` become Opus. The bit rate is 32 kbit/s, or lower if the file would
    otherwise exceed `most_bytes`. Returns the new file, in `folder`, and its content type. The call blocks;
    its use of memory does not grow with the part. Raises OSError when a file cannot be read or written,
    av.FFmpegError when encoding fails.
    """
    lossless = end_ms - start_ms <= lossless_ms
    name = f"piece-{start_ms}-{end_ms}"
    target = folder / (f"{name}.flac" if lossless else f"{name}.ogg")
    with pcm.open("rb") as source, av.open(str(target), "w", format="flac" if lossless else "ogg") as file:
        stream = file.add_stream("flac" if lossless else "libopus", rate=SAMPLE_RATE)
        stream.layout = "mono"
        stream.format = "s16"
        if not lossless:
            # A tenth stays free for the container. Speech stays clear down to 12 kbit/s.
            stream.bit_rate = min(32_000, int(most_bytes * 0.9 * 8 * 1000 / (end_ms - start_ms)))
        source.seek(start_ms * _BYTES_PER_MS)
        left, position = (end_ms - start_ms) * _BYTES_PER_MS, 0
        while left and (block := source.read(min(_BLOCK, left))):
            samples = np.frombuffer(block[: len(block) // 2 * 2], dtype="<i2")
            left -= len(block)
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, position
            position += samples.size
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return target, "audio/flac" if lossless else "audio/ogg"
