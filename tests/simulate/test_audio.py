"""Simulated recordings are playable Ogg/Opus, as long as asked, and no two alike."""

from __future__ import annotations

import hashlib
import struct

import pytest

from lapel.sample import speech
from lapel.simulate.device.audio import Recorder


def checksum(page: bytes) -> int:
    """RFC 3533's CRC, bit by bit: slow, and written another way than what it checks."""
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = ((register << 1) ^ (0x04C11DB7 if register & 0x80000000 else 0)) & 0xFFFFFFFF
    return register


def pages(data: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """(flags, granule, serial, number, payload) of every page; fails on a wrong checksum."""
    found: list[tuple[int, int, int, int, bytes]] = []
    at = 0
    while at < len(data):
        magic, version, flags, granule, serial, number, crc, segments = struct.unpack_from(
            "<4sBBqIIIB", data, at
        )
        assert (magic, version) == (b"OggS", 0)
        begin = at + 27 + segments
        end = begin + sum(data[at + 27 : begin])
        assert checksum(data[at : at + 22] + b"\0\0\0\0" + data[at + 26 : end]) == crc
        found.append((flags, granule, serial, number, data[begin:end]))
        at = end
    assert at == len(data)
    return found


@pytest.mark.parametrize("seconds", [0.5, 7.2, 24.73, 24.8, 40])
def test_a_recording_is_a_chain_of_whole_streams_of_the_length_asked_for(seconds: float) -> None:
    audio = Recorder().record(seconds, "one")
    assert audio.sha256 == hashlib.sha256(audio.data).hexdigest()
    assert seconds * 1000 <= audio.duration_ms < seconds * 1000 + 1000
    streams: dict[int, list[tuple[int, int, int, int, bytes]]] = {}
    for page in pages(audio.data):
        streams.setdefault(page[2], []).append(page)
    length = 0
    for stream in streams.values():
        assert [number for _, _, _, number, _ in stream] == list(range(len(stream)))
        assert [flags for flags, *_ in stream] == [2, *[0] * (len(stream) - 2), 4]
        assert stream[0][4].startswith(b"OpusHead")
        assert b"DESCRIPTION=one" in stream[1][4]
        (pre_skip,) = struct.unpack_from("<H", stream[0][4], 10)
        length += (stream[-1][1] - pre_skip) // 48
    assert length == audio.duration_ms


def test_the_speech_is_that_of_the_sample() -> None:
    spoken = [payload for *_, payload in pages(Recorder().record(3, "x").data)][2:]
    assert spoken
    assert spoken == [payload for *_, payload in pages(speech().data)][2 : 2 + len(spoken)]


def test_no_two_recordings_have_the_same_bytes() -> None:
    recorder = Recorder()
    assert len({recorder.record(3, f"recording {number}").sha256 for number in range(50)}) == 50
    assert recorder.record(3, "same").data == recorder.record(3, "same").data
