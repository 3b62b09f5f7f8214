"""Audio files made on the spot: honest ones by PyAV, odd ones byte by byte."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.audio.stream import AudioStream
from numpy.typing import NDArray

SECONDS = 3


def tone(rate: int, seconds: float = SECONDS, channels: int = 1) -> NDArray[np.int16]:
    """A chord whose loudness comes and goes, as `samples x channels`."""
    times = np.arange(round(rate * seconds)) / rate
    wave = np.sin(2 * np.pi * 440 * times) + 0.5 * np.sin(2 * np.pi * 1_000 * times)
    wave *= 0.3 * (1 + np.sin(2 * np.pi * times)) / 2
    return np.repeat((wave * 32_767).astype(np.int16)[:, None], channels, axis=1)


class Unseekable(io.RawIOBase):
    """A file that a browser's recorder streams to: what was written is never amended."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += memoryview(data)  # type: ignore[arg-type]
        return len(memoryview(data))  # type: ignore[arg-type]


@cache
def encoded(
    container: str,
    codec: str,
    rate: int = 48_000,
    *,
    seconds: float = SECONDS,
    layout: str = "mono",
    channels: int = 1,
    options: tuple[tuple[str, str], ...] = (),
    muxer: tuple[tuple[str, str], ...] = (),
    streamed: bool = False,
) -> bytes:
    """The tone in a container of FFmpeg's name."""
    out: io.BytesIO | Unseekable = Unseekable() if streamed else io.BytesIO()
    with av.open(out, "w", format=container, container_options=dict(muxer)) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout, options=dict(options))
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(tone(rate, seconds, channels).reshape(1, -1), "s16", layout)
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return bytes(out.data) if isinstance(out, Unseekable) else out.getvalue()


def video_only() -> bytes:
    """An MP4 without sound."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        for _ in range(20):
            file.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        file.mux(stream.encode(None))
    return out.getvalue()


def wav(samples: bytes, *, rate: int = 16_000, channels: int = 1, claims: int | None = None) -> bytes:
    """16-bit PCM. `claims`: bytes of samples that the header speaks of."""
    size = len(samples) if claims is None else claims
    head = struct.pack(
        "<IHHIIHH", 16, 1, channels, rate, rate * channels * 2 & 0xFFFF_FFFF, channels * 2 & 0xFFFF, 16
    )
    riff = b"WAVEfmt " + head + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", min(size + 36, 0xFFFF_FFFF)) + riff + samples


def caf(samples: bytes, labels: list[int], rate: int = 16_000) -> bytes:
    """16-bit PCM whose channels are listed one by one, in an order of their own."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack(">q", len(body)) + body

    many = len(labels)
    described = struct.pack(">d4sIIIII", rate, b"lpcm", 2, 2 * many, 1, many, 16)
    places = struct.pack(">III", 0, 0, many) + b"".join(
        struct.pack(">II3f", each, 0, 0, 0, 0) for each in labels
    )
    return (
        b"caff\0\1\0\0"
        + chunk(b"desc", described)
        + chunk(b"chan", places)
        + chunk(b"data", bytes(4) + samples)
    )


def silent_flac(
    frames: int,
    *,
    rate: int = 48_000,
    channels: int = 1,
    block: int = 65_535,
    claims: int = 0,
    padding: int = 0,
) -> bytes:
    """`block` samples of silence in 10 bytes and 3 for each channel, so many times.

    `claims`: samples that the header speaks of. `padding`: bytes that are no audio.
    """
    streaminfo = struct.pack(">HHHHH", block, block, 0, 0, 0)
    streaminfo += (rate << 44 | channels - 1 << 41 | 15 << 36 | claims).to_bytes(8, "big") + bytes(16)
    head = bytes([0xFF, 0xF8, 0x70, channels - 1 << 4 | 0x08, 0x00]) + struct.pack(">H", block - 1)
    frame = head + bytes([crc(head, 8, 0x07)])
    frame += bytes(3) * channels  # constant subframes: their kind, and one sample
    frame += crc(frame, 16, 0x8005).to_bytes(2, "big")
    blocks = b"\x00\x00\x00\x22" + streaminfo
    while padding > 0:
        length = min(padding, 2**24 - 1)
        blocks += b"\x01" + length.to_bytes(3, "big") + bytes(length)
        padding -= length
    return b"fLaC" + blocks + b"\x81\x00\x00\x00" + frame * frames


def repeated_mp4(times: int, *, by_edits: bool = False) -> bytes:
    """Three seconds of AAC whose index names them so many times: all its chunks, or by edits of its track."""
    whole = encoded("mp4", "aac", 16_000)

    def table(body: bytes, width: int) -> bytes:
        return body[:4] + struct.pack(">I", (len(body) - 8) // width * times) + body[8:] * times

    def mended(name: bytes, body: bytes) -> bytes:
        if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            inner = [each for each in _boxes(body) if by_edits or each[0] != b"edts"]
            return b"".join(_box(each, mended(each, content)) for each, content in inner)
        if name == b"edts" and by_edits:
            edit = struct.pack(">IIHH", 3_000, 0, 1, 0)
            return _box(b"elst", struct.pack(">II", 0, times) + edit * times)
        if by_edits:
            return body
        if name == b"stsz":
            return body[:8] + struct.pack(">I", (len(body) - 12) // 4 * times) + body[12:] * times
        if name == b"stsc":
            chunks = len(body[8:]) // 12
            rows = [struct.unpack(">III", body[at : at + 12]) for at in range(8, len(body), 12)]
            total = max(row[0] for row in rows)
            moved = b"".join(
                struct.pack(">III", first + turn * total, *rest)
                for turn in range(times)
                for first, *rest in rows
            )
            return body[:4] + struct.pack(">I", chunks * times) + moved
        return table(body, {b"stts": 8, b"stco": 4}[name]) if name in (b"stts", b"stco") else body

    return b"".join(_box(name, mended(name, body)) for name, body in _boxes(whole))


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    while data:
        length = struct.unpack(">I", data[:4])[0]
        found.append((data[4:8], data[8:length]))
        data = data[length:]
    return found


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + name + body


def crc(data: bytes, bits: int, polynomial: int) -> int:
    """A checksum, bit by bit, the highest bit first, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc >> (bits - 1) else crc << 1) & ((1 << bits) - 1)
    return crc
