"""The speech sample is what the package says it is."""

import struct

from lapel.sample import Sample, speech

# The file that was listened to. A changed byte must be a decision, not an accident.
SHA256 = "9429da34048eba6a268237010858f2c1b3556f402e2be03a0c2f1b245eab6cb7"


def ogg_pages(data: bytes) -> list[tuple[int, bytes]]:
    """Every Ogg page as (granule position, payload); fails on a broken page chain."""
    pages: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        magic, version, _flags, granule = struct.unpack_from("<4sBBq", data, at)
        assert (magic, version) == (b"OggS", 0)
        segments = data[at + 26]
        header = 27 + segments
        size = sum(data[at + 27 : at + header])
        pages.append((granule, data[at + header : at + header + size]))
        at += header + size
    assert at == len(data)
    return pages


def test_it_is_mono_opus_of_the_stated_length() -> None:
    sample = speech()
    pages = ogg_pages(sample.data)
    head = pages[0][1]
    assert head[:8] == b"OpusHead"
    channels, pre_skip = struct.unpack_from("<BH", head, 9)
    assert channels == 1
    # Opus counts granules at 48 kHz whatever the source was.
    assert (pages[-1][0] - pre_skip) / 48 == sample.duration_ms


def test_its_bytes_and_words_are_the_known_ones() -> None:
    sample = Sample()
    assert sample.sha256 == SHA256
    assert sample.size == sample.path.stat().st_size == 76_728
    assert sample.text.startswith("And Mr. John Dashwood had then leisure")
    assert sample.text.endswith("made amiable himself.")
    assert len(sample.text.split()) == 68
    assert sample.path.with_name("ATTRIBUTION.md").is_file()
