"""Headers of audio files whose sizes lead beyond what any file, or the kernel, counts."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.scan import scan

BEYOND = 2**64 - 64
W64_FMT = b"fmt " + bytes(12) + struct.pack("<QHHIIHH", 40, 1, 1, 16_000, 32_000, 2, 16)
CAF_DESC = struct.pack(">4sqd4sIIIII", b"desc", 32, 5e-324, b"lpcm", 0, 2, 1, 1, 16)
MKV_HEAD = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
FILES = {
    "w64": bytes(40) + b"junk" + bytes(12) + struct.pack("<Q", BEYOND),
    "w64 data": bytes(40) + W64_FMT + b"data" + bytes(12) + struct.pack("<Q", BEYOND) + bytes(64),
    "caf": bytes(8) + struct.pack(">4sq", b"free", 2**63 - 1) + struct.pack(">4sq", b"free", 2**63 - 1),
    "caf data": bytes(8) + CAF_DESC + struct.pack(">4sq", b"data", 2**63 - 1) + bytes(64),
    "wav": b"RIFF\xff\xff\xff\xffWAVE" + struct.pack("<4sI", b"junk", 2**32 - 1),
    "wav ds64": b"RF64\xff\xff\xff\xffWAVE"
    + struct.pack("<4sIQQQI", b"ds64", 28, BEYOND, BEYOND, BEYOND, 0)
    + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 1, 2, 16)
    + struct.pack("<4sI", b"data", 2**32 - 1)
    + bytes(64),
    "mov,mp4,m4a,3gp,3g2,mj2": struct.pack(">I4sQ", 1, b"free", BEYOND),
    "matroska,webm": MKV_HEAD + b"\x1f\x43\xb6\x75\x01" + b"\xff" * 6 + b"\xfe" + bytes(64),
    "mp3": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(64),
    "ogg": b"OggS\x00\x02" + b"\xff" * 8 + bytes(12) + b"\xff" + b"\xff" * 255,
}


@pytest.mark.parametrize("name", FILES)
def test_a_scan_of_absurd_sizes_ends(tmp_path: Path, name: str) -> None:
    file = tmp_path / "audio"
    file.write_bytes(FILES[name])
    demuxer = name.split(maxsplit=1)[0]
    with file.open("rb") as opened:
        source = ByteSource(opened.fileno(), len(FILES[name]))
        found = scan(source, demuxer, None, alone=True)
    assert len(found.places) <= 1
