"""What is Ogg with Opus, how long it is, and that nothing else passes or breaks the check."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from importlib import resources

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel.slices.encrypted_uploads.documents.failures import Refused
from lapel.slices.encrypted_uploads.publication.ogg_opus import OggOpusCheck

SAMPLE = (resources.files("lapel.sample") / "librivox.opus").read_bytes()


def duration(content: bytes, piece: int = 1 << 20) -> int:
    """Milliseconds, of content that arrives in pieces of some length."""
    check = OggOpusCheck()
    for at in range(0, len(content), piece):
        check.feed(content[at : at + piece])
    return check.finish()


def crc(page: bytes) -> int:
    """The checksum of a page, bit by bit, as RFC 3533 says it."""
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = ((register << 1) ^ (0x04C11DB7 if register & 1 << 31 else 0)) & 0xFFFFFFFF
    return register


def page(
    flags: int,
    granule: int,
    sequence: int,
    *packets: bytes,
    serial: int = 7,
    last: int = 1,
    version: int = 0,
) -> bytes:
    """A page of packets shorter than 255 bytes; of `last` 0, the last packet is cut and goes on."""
    segments = bytes(len(each) for each in packets) if last else b"\xff" * len(packets)
    head = struct.pack("<4sBBqII", b"OggS", version, flags, granule, serial, sequence)
    rest = bytes([len(segments)]) + segments + b"".join(packets)
    return head + struct.pack("<I", crc(head + bytes(4) + rest)) + rest


HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, 48_000, 0, 0)
TAGS = b"OpusTags" + bytes(8)
PACKET = b"\xfc" + bytes(20)
START = page(2, 0, 0, HEAD) + page(0, 0, 1, TAGS)


def test_the_sample_has_the_duration_that_a_decoder_finds() -> None:
    with av.open(io.BytesIO(SAMPLE), "r") as container:
        decoded = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert duration(SAMPLE) == pytest.approx(decoded * 1000, abs=1)
    assert duration(SAMPLE, 1) == duration(SAMPLE, 4096) == duration(SAMPLE)


@pytest.mark.parametrize("seconds", [0.02, 1.0, 3.7])
def test_what_libopus_writes_is_right(seconds: float) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        noise = np.random.default_rng(1).uniform(-0.1, 0.1, (1, int(48_000 * seconds))).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert duration(file.getvalue()) == pytest.approx(seconds * 1000, abs=25)


def test_chained_streams_add_up() -> None:
    assert duration(SAMPLE + SAMPLE) == pytest.approx(2 * duration(SAMPLE), abs=1)


def test_a_stream_without_audio_lasts_no_time() -> None:
    assert duration(START) == 0


def test_a_duration_that_the_packets_cannot_have_is_not_believed() -> None:
    second = page(0, 48_000, 2, PACKET) + page(4, 2**62, 3, PACKET)
    assert duration(START + second) <= 2 * 120
    assert duration(START + page(4, 2**62, 2, PACKET)) == 0


def test_a_packet_may_go_on_in_the_next_page() -> None:
    pages = page(0, -1, 2, bytes(255), last=0) + page(5, 960, 3, PACKET)
    assert duration(START + pages) == (960 - 312) * 1000 // 48_000


def test_a_packet_may_have_a_multiple_of_255_bytes() -> None:
    """Its last segment is empty: at the end of a page, or at the begin of the next one."""
    longest = page(0, -1, 2, bytes(255), last=0) + page(1, 480, 3, b"", PACKET)
    both = page(0, 960, 4, bytes(255), b"") + page(4, 1920, 5, PACKET)
    assert duration(START + longest + both) == (1920 - 312) * 1000 // 48_000


def test_a_page_may_have_255_segments_of_255_bytes() -> None:
    longest = page(0, -1, 2, *[bytes(255)] * 255, last=0)
    assert duration(START + longest + page(5, 960, 3, PACKET)) == (960 - 312) * 1000 // 48_000


WRONG = {
    "empty": b"",
    "no Ogg": b"RIFF" + bytes(100),
    "the begin of a page": b"OggS\x00",
    "no Opus": page(2, 0, 0, b"\x01vorbis" + bytes(30)),
    "short head": page(2, 0, 0, HEAD[:18]),
    "unknown version": page(2, 0, 0, b"OpusHead\x10" + HEAD[9:]),
    "no channels": page(2, 0, 0, HEAD[:9] + b"\x00" + HEAD[10:]),
    "head without its mapping": page(2, 0, 0, HEAD[:18] + b"\x01"),
    "tags beside the head": page(2, 0, 0, HEAD, TAGS),
    "no tags": page(2, 0, 0, HEAD),
    "audio in place of tags": page(2, 0, 0, HEAD) + page(0, 960, 1, PACKET),
    "an empty page in place of tags": page(2, 0, 0, HEAD) + page(0, 0, 1),
    "audio beside the tags": page(2, 0, 0, HEAD) + page(0, 0, 1, TAGS, PACKET),
    "no first page": page(0, 0, 1, TAGS),
    "another stream": START + page(0, 960, 2, PACKET, serial=8),
    "a lost page": START + page(0, 960, 3, PACKET),
    "a page after the last": START + page(4, 960, 2, PACKET) + page(4, 1920, 3, PACKET),
    "positions that go back": START + page(0, 1920, 2, PACKET) + page(4, 960, 3, PACKET),
    "a cut page": START + page(4, 960, 2, PACKET)[:-1],
    "a packet that does not end": START + page(0, -1, 2, bytes(255), last=0),
    "a packet that nothing continues": START + page(0, -1, 2, bytes(255), last=0) + page(4, 960, 3, PACKET),
    "a packet that continues nothing": START + page(1, 960, 2, PACKET),
    "a packet without bytes": START + page(4, 960, 2, b""),
    "a packet without bytes behind another one": START + page(4, 960, 2, PACKET, b"", PACKET),
    "a packet without bytes behind one that goes on": START
    + page(0, -1, 2, bytes(255), last=0)
    + page(5, 960, 3, b"", b""),
    "a page of an unknown version": START + page(4, 960, 2, PACKET, version=1),
    "unknown flags": START + page(8, 960, 2, PACKET),
    "something behind": START + page(4, 960, 2, PACKET) + b"\x00",
}


@pytest.mark.parametrize("case", WRONG)
def test_anything_else_is_refused(case: str) -> None:
    for piece in (1, 1 << 20):
        with pytest.raises(Refused) as refused:
            duration(WRONG[case], piece)
        assert refused.value.reason == "integrity_failed"


@given(st.data())
def test_no_changed_byte_passes(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SAMPLE) - 1))
    changed = bytearray(SAMPLE)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refused):
        duration(bytes(changed))


@given(st.binary(max_size=300), st.integers(1, 64))
def test_bytes_at_random_break_nothing(content: bytes, piece: int) -> None:
    for begin in (b"", START, START[:40]):
        with suppress(Refused):
            duration(begin + content, piece)
