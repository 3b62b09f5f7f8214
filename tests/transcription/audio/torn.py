"""Files that are damaged on the spot, and the parts that they are made of."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from tests.transcription.audio.signals import crc, encoded, tone

FRAGMENTS = (("movflags", "frag_keyframe+empty_moov"), ("frag_duration", "200000"))
SECONDS = 30
WHOLE: dict[str, Callable[[], bytes]] = {
    "ogg": lambda: encoded("ogg", "libopus", seconds=SECONDS),
    "Ogg FLAC": lambda: encoded("ogg", "flac", 16_000, seconds=SECONDS),
    "webm": lambda: encoded("webm", "libopus", seconds=SECONDS),
    "wav": lambda: encoded("wav", "pcm_s16le", 16_000, seconds=SECONDS),
    "w64": lambda: encoded("w64", "pcm_s16le", 16_000, seconds=SECONDS),
    "caf": lambda: encoded("caf", "pcm_s16le", 16_000, seconds=SECONDS),
    "aiff": lambda: encoded("aiff", "pcm_s16be", 16_000, seconds=SECONDS),
    "mp3": lambda: encoded("mp3", "libmp3lame", 16_000, seconds=SECONDS),
    "aac": lambda: encoded("adts", "aac", 16_000, seconds=SECONDS),
    "flac": lambda: encoded("flac", "flac", 16_000, seconds=SECONDS),
    "mp4": lambda: encoded("mp4", "aac", 16_000, seconds=SECONDS),
    "fragmented mp4": lambda: encoded("mp4", "aac", 16_000, seconds=SECONDS, muxer=FRAGMENTS),
    "matroska aac": lambda: encoded("matroska", "aac", 16_000, seconds=SECONDS),
}


def noise_over(data: bytes, begin: int, end: int, seed: int = 1) -> bytes:
    """The file with noise in place of these bytes."""
    return data[:begin] + random.Random(seed).randbytes(end - begin) + data[end:]


def pages(data: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    found: list[bytes] = []
    while data:
        assert data.startswith(b"OggS")
        size = 27 + data[26] + sum(data[27 : 27 + data[26]])
        found.append(data[:size])
        data = data[size:]
    return found


def with_checksum(page: bytearray) -> bytes:
    """The page with the checksum that fits it, as RFC 3533 computes it: bit by bit."""
    struct.pack_into("<I", page, 22, 0)
    struct.pack_into("<I", page, 22, crc(bytes(page), 32, 0x04C1_1DB7))
    return bytes(page)


def film(container: str, *, sound: int, pictures: int) -> bytes:
    """A film whose sound and pictures last so many seconds."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        seen = file.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        heard = file.add_stream("aac", rate=16_000, layout="mono")
        assert isinstance(seen, VideoStream)
        assert isinstance(heard, AudioStream)
        frame = av.AudioFrame.from_ndarray(tone(16_000, sound).reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = 16_000, Fraction(1, 16_000), 0
        file.mux(heard.encode(frame))
        file.mux(heard.encode(None))
        for _ in range(pictures * 10):
            file.mux(seen.encode(av.VideoFrame(32, 32, "yuv420p")))
        file.mux(seen.encode(None))
    return out.getvalue()
