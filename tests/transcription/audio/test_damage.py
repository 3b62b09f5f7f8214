"""Damaged files are told from whole ones: where audio is missing, and how much."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lapel.sample import speech
from lapel.slices.transcription.audio.audio_facts import AudioFacts, Damage
from lapel.slices.transcription.audio.damage.byte_source import ByteSource
from lapel.slices.transcription.audio.damage.damage_record import DamageRecord
from lapel.slices.transcription.audio.damage.file_places import FilePlace, Unscannable
from lapel.slices.transcription.audio.damage.matroska_elements import MatroskaScan
from lapel.slices.transcription.audio.damage.mpeg_frames import FrameScan
from lapel.slices.transcription.audio.damage.scan import Scanned
from lapel.slices.transcription.speech.failures import SpeechError
from tests.transcription.audio.conftest import Decode
from tests.transcription.audio.signals import encoded, silent_flac, tone, wav
from tests.transcription.audio.torn import FRAGMENTS, WHOLE, film, noise_over, pages, with_checksum

PCM = tone(16_000).tobytes()


def samples() -> bytes:
    return speech().path.read_bytes()


def live_ogg() -> bytes:
    """Recorded live: no page has the flag that ends the stream."""
    *before, last = pages(encoded("ogg", "libopus"))
    page = bytearray(last)
    assert page[5] & 4
    page[5] &= ~4
    return b"".join(before) + with_checksum(page)


def late_ogg() -> bytes:
    """A part of a broadcast: its times begin in the middle of a day."""
    found: list[bytes] = []
    for page in pages(encoded("ogg", "libopus")):
        (granule,) = struct.unpack_from("<q", page, 6)
        moved = bytearray(page)
        struct.pack_into("<q", moved, 6, granule + 48_000 * 40_000 if granule else 0)
        found.append(with_checksum(moved))
    return b"".join(found)


def id3(size: int) -> bytes:
    return b"ID3\4\0\0" + bytes((0, 0, size >> 7, size & 127)) + bytes(size)


def ape(*, footer: bool) -> bytes:
    """An APE tag with one item; `footer`: at the end of a file it stands behind the items, too."""
    item = struct.pack("<II", 3, 0) + b"Title\0abc"
    size = len(item) + 32

    def mark(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, size, 1, flags) + bytes(8)

    return mark(0xA000_0000) + item + (mark(0x8000_0000) if footer else b"")


MP3 = ("mp3", "libmp3lame", 16_000)
ORDINARY: dict[str, Callable[[], bytes]] = {
    **{f"whole {kind}": whole for kind, whole in WHOLE.items()},
    "the sample": samples,
    "Ogg that was recorded live": live_ogg,
    "Ogg that begins late": late_ogg,
    "chained Ogg": lambda: encoded("ogg", "libopus") * 3,
    "Ogg and padding": lambda: encoded("ogg", "libopus") + bytes(20_000),
    "Ogg and a tag": lambda: encoded("ogg", "libopus") + b"TAG" + bytes(125),
    "Ogg that was recorded live and a tag": lambda: live_ogg() + b"TAG" + bytes(125),
    "Opus that sends nothing in silence": lambda: encoded("ogg", "libopus", options=(("dtx", "1"),)),
    "WebM of a browser": lambda: encoded("webm", "libopus", streamed=True),
    "MP4 of a browser": lambda: encoded("mp4", "aac", 16_000, streamed=True, muxer=FRAGMENTS),
    "streamed FLAC": lambda: encoded("flac", "flac", 16_000, streamed=True),
    "streamed WAV": lambda: encoded("wav", "pcm_s16le", 16_000, streamed=True),
    "WAV whose size is 0": lambda: wav(PCM, claims=0),
    "WAV whose size is nearly 2 GiB": lambda: wav(PCM, claims=0x7FFF_F000),
    "WAV whose size is all ones": lambda: wav(PCM, claims=0xFFFF_FFFF),
    "WAV with a list behind its samples": lambda: wav(PCM) + b"LIST\4\0\0\0INFO",
    "MP3 with all tags": lambda: id3(500) + encoded(*MP3) + ape(footer=True) + b"TAG" + bytes(125),
    "MP3 without a count": lambda: encoded(*MP3, muxer=(("write_xing", "0"),)),
    "MP3 of any bit rate": lambda: encoded(*MP3, options=(("q", "4"),)),
    "MP3 from the middle of a frame": lambda: encoded(*MP3, muxer=(("write_xing", "0"),))[140:],
    "two MP3": lambda: encoded(*MP3, muxer=(("write_xing", "0"),)) * 2,
    "two MP3 of different rates": lambda: encoded(*MP3) + encoded("mp3", "libmp3lame", 44_100),
    "MP3 and padding": lambda: encoded(*MP3) + bytes(1_000),
    "FLAC and a tag": lambda: encoded("flac", "flac", 16_000) + b"TAG" + bytes(125),
    "FLAC of constant frames": lambda: silent_flac(20, rate=16_000, block=4_096),
    "a film that is longer than its sound": lambda: film("matroska", sound=2, pictures=6),
    "an MP4 film that is longer than its sound": lambda: film("mp4", sound=2, pictures=6),
}


@pytest.mark.parametrize("what", ORDINARY)
async def test_ordinary_files_are_whole(decode: Decode, what: str) -> None:
    assert (await decode(ORDINARY[what]())).damage == []


def only(facts: AudioFacts) -> Damage:
    (damage,) = facts.damage
    return damage


async def test_opus_that_was_cut(decode: Decode) -> None:
    damage = only(facts := await decode(samples()[:40_000]))
    assert (damage.kind, damage.start_ms, damage.end_ms) == ("cut", facts.duration_ms, None)
    assert damage.missing_ms is None


@pytest.mark.parametrize("size", [30_000, 68_000])
async def test_opus_with_noise_in_its_middle(decode: Decode, size: int) -> None:
    """FFmpeg's reader gives up after 64 KiB of garbage."""
    whole = samples() if size < 40_000 else WHOLE["ogg"]()
    begin = len(whole) * 3 // 10
    before = (await decode(whole[:begin])).duration_ms
    full = (await decode(whole)).duration_ms
    damage = only(facts := await decode(noise_over(whole, begin, begin + size)))
    assert damage.kind == "gap"
    assert damage.start_ms == damage.end_ms == pytest.approx(before, abs=30)
    assert damage.missing_ms == pytest.approx(full - facts.duration_ms, abs=30)
    assert damage.start_ms in {end for _, end in facts.pieces}


async def test_one_byte_of_a_page(decode: Decode) -> None:
    whole = bytearray(samples())
    whole[40_000] ^= 1
    damage = only(await decode(bytes(whole)))
    assert (damage.kind, damage.missing_ms) == ("gap", 1_000)


async def test_a_lost_page(decode: Decode) -> None:
    found = pages(samples())
    damage = only(await decode(b"".join(found[:5] + found[7:])))
    assert (damage.kind, damage.start_ms, damage.missing_ms) == ("gap", pytest.approx(3_000, abs=50), 2_000)


async def test_audio_that_a_device_lost_before_it_wrote_a_page(decode: Decode) -> None:
    """All pages are there, but the time jumps."""
    found: list[bytes] = []
    for number, page in enumerate(pages(samples())):
        (granule,) = struct.unpack_from("<q", page, 6)
        moved = bytearray(page)
        struct.pack_into("<q", moved, 6, granule + 48_000 * 7 if number > 10 else granule)
        found.append(with_checksum(moved))
    damage = only(await decode(b"".join(found)))
    assert (damage.kind, damage.start_ms, damage.missing_ms) == ("gap", pytest.approx(9_000, abs=50), 7_000)


async def test_a_program_that_counts_time_in_its_own_way(decode: Decode) -> None:
    """Each page seems to be a second late, and nothing is missing."""
    found: list[bytes] = []
    for number, page in enumerate(pages(samples())):
        (granule,) = struct.unpack_from("<q", page, 6)
        moved = bytearray(page)
        struct.pack_into("<q", moved, 6, granule + 48_000 * number if granule else 0)
        found.append(with_checksum(moved))
    assert (await decode(b"".join(found))).damage == []


async def test_many_places_in_an_mp3_are_told_where_they_are(decode: Decode) -> None:
    whole = WHOLE["mp3"]()
    noisy = whole
    for tenth in range(1, 9):
        begin = len(whole) * tenth // 10
        noisy = noise_over(noisy, begin, begin + 3_000, seed=tenth)
    facts = await decode(noisy)
    assert [found.kind for found in facts.damage] == ["gap"] * 8
    # The first is after 3 s, the last 5 s before the end, and the others are between them at equal distances.
    each = (facts.duration_ms - 8_000) / 7
    expected = [3_000 + round(each * number) for number in range(8)]
    assert [found.start_ms for found in facts.damage] == pytest.approx(expected, abs=300)


async def test_garbage_between_pages_without_a_loss(decode: Decode) -> None:
    found = pages(samples())
    damage = only(await decode(b"".join([*found[:5], b"\1" * 5_000, *found[5:]])))
    assert (damage.kind, damage.missing_ms) == ("corrupt_bytes", 0)


async def test_a_time_that_no_recording_can_have(decode: Decode) -> None:
    """The number itself is damaged."""
    *before, last = map(bytearray, pages(samples()))
    struct.pack_into("<q", last, 6, 2**62)
    damage = only(await decode(b"".join([*map(bytes, before), with_checksum(last)])))
    assert (damage.kind, damage.missing_ms) == ("gap", None)


@pytest.mark.parametrize("kind", ["ogg", "webm", "flac", "mp3", "aac", "mp4", "matroska aac"])
async def test_noise_in_the_middle_of_any_format(decode: Decode, kind: str) -> None:
    whole = WHOLE[kind]()
    before = (await decode(whole)).duration_ms
    damage = only(facts := await decode(noise_over(whole, len(whole) * 4 // 10, len(whole) * 7 // 10)))
    assert damage.kind == "gap"
    assert damage.start_ms == pytest.approx(before * 0.4, abs=before * 0.06)
    assert damage.missing_ms == pytest.approx(before - facts.duration_ms, abs=250)


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "mp4"])
async def test_any_format_that_was_cut(decode: Decode, kind: str) -> None:
    whole = WHOLE[kind]()
    before = (await decode(whole)).duration_ms
    damage = (facts := await decode(whole[: len(whole) * 2 // 3 + 1])).damage[0]
    assert damage.kind in ("cut", "short")
    assert (damage.start_ms, damage.end_ms) == (facts.duration_ms, None)
    assert damage.missing_ms in (None, pytest.approx(before - facts.duration_ms, abs=500))


async def test_an_mp4_whose_audio_ends_before_its_index_does(decode: Decode) -> None:
    """The index stands at the start, as in files that are made for the web."""
    whole = WHOLE["mp4"]()
    at = whole.index(b"mdat") - 4
    index = bytearray(whole[whole.index(b"moov") - 4 :])
    place = index.index(b"stco")
    (count,) = struct.unpack_from(">I", index, place + 8)
    for entry in range(place + 12, place + 12 + 4 * count, 4):
        struct.pack_into(">I", index, entry, struct.unpack_from(">I", index, entry)[0] + len(index))
    first = whole[:at] + bytes(index) + whole[at : -len(index)]
    assert (await decode(first)).damage == []
    damage = only(facts := await decode(first[: len(index) + (len(first) - len(index)) // 2]))
    assert (damage.kind, damage.start_ms) == ("cut", facts.duration_ms)
    assert damage.missing_ms == pytest.approx(30_000 - facts.duration_ms, abs=500)


@pytest.mark.parametrize(("claims", "missing"), [(128_000, 1_000), (96_001, None)])
async def test_a_wav_with_fewer_samples_than_it_says(
    decode: Decode, claims: int, missing: int | None
) -> None:
    data = wav(PCM + b"\0" * (claims % 2), claims=claims)
    damage = only(await decode(data))
    assert (damage.kind, damage.start_ms, damage.missing_ms) == ("cut", 3_000, missing)


async def test_the_frames_that_an_mp3_says_it_has(decode: Decode) -> None:
    """It is cut between two frames, so that no torn frame shows it."""
    whole = encoded(*MP3)
    places = [found.start() for found in re.finditer(b"\xff\xf3", whole)]
    damage = only(facts := await decode(whole[: places[len(places) // 2]]))
    assert (damage.kind, damage.start_ms) == ("short", facts.duration_ms)
    assert damage.missing_ms == pytest.approx(3_000 - facts.duration_ms, abs=150)


def test_a_file_that_is_damaged_everywhere_has_a_bounded_answer() -> None:
    """What is beyond the most stretches is in the last one."""
    places = [FilePlace("gap", at, at, 300) for at in range(1_000)]
    record = DamageRecord(Scanned(places, None), 1_000, trusts_times=False, bears_faults=False)
    for at in range(1_000):
        record.reach(at, None, at * 2.0)
    found = record.finish(2_000_000, torn=False, most=500)
    assert len(found) == 500
    assert found[0] == Damage(kind="gap", start_ms=0, end_ms=0, missing_ms=300)
    assert (found[-1].start_ms, found[-1].end_ms) == (998_000, 1_998_000)
    assert sum(each.missing_ms or 0 for each in found) == 300_000


async def test_bytes_that_look_like_pages(decode: Decode) -> None:
    """A hundred thousand marks that could each begin a page: the search does not read 64 KiB at each."""
    first, *rest = pages(samples())
    facts = await decode(first + b"".join(rest[:10]) + b"OggS" * 100_000 + b"".join(rest[10:]))
    assert facts.damage != []


async def test_noise_without_end(decode: Decode) -> None:
    """Ten thousand places in it could begin a frame."""
    whole = encoded(*MP3)
    noise = random.Random(3).randbytes(3_000_000)
    with pytest.raises(SpeechError, match="Most of the audio") as failed:
        await decode(whole[:5_000] + noise + whole[5_000:])
    assert failed.value.code == "audio_corrupt"


@contextmanager
def counted(file: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[ByteSource, list[int]]]:
    """A source of the file, and how many bytes each of its reads of the file gave."""
    sizes: list[int] = []
    pread = os.pread

    def count(descriptor: int, size: int, at: int) -> bytes:
        found = pread(descriptor, size, at)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(os, "pread", count)
    with file.open("rb") as opened:
        yield ByteSource(opened.fileno(), file.stat().st_size), sizes


def test_tags_of_lyrics_without_an_end_are_looked_through_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = bytes.fromhex("fffb1064") + bytes(100)  # 32 kbit/s at 44.1 kHz: 104 bytes
    file = tmp_path / "hostile.mp3"
    file.write_bytes(b"LYRICSBEGIN" + bytes(21) + (frame * 2 + b"LYRICSBEGIN" + bytes(21)) * 15_000)
    with counted(file, monkeypatch) as (source, sizes):
        places = list(FrameScan(source, is_adts=False).places())
    assert len(places) > 10_000
    assert sum(sizes) < 2 * file.stat().st_size + 10 * 1_500_000


@pytest.mark.parametrize("between", [b"", bytes(300_000)])
def test_a_whole_tag_of_lyrics_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: bytes
) -> None:
    frame = bytes.fromhex("fffb1064") + bytes(100)
    file = tmp_path / "tagged.mp3"
    file.write_bytes(frame * 20 + b"LYRICSBEGIN" + between + b"000011LYRICS200" + b"TAG" + bytes(125))
    with counted(file, monkeypatch) as (source, _):
        assert list(FrameScan(source, is_adts=False).places()) == []


def test_marks_that_begin_no_cluster_are_tried_a_bounded_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = bytes.fromhex("1f43b675")
    file = tmp_path / "hostile.mka"
    file.write_bytes(bytes.fromhex("1a45dfa3801853806701ffffffffffffff") + b"\0" + mark * 300_000)
    tried: list[int] = []
    read = ByteSource.read

    def count(source: ByteSource, at: int, size: int) -> bytes:
        tried.append(at)
        return read(source, at, size)

    monkeypatch.setattr(ByteSource, "read", count)
    with counted(file, monkeypatch) as (source, sizes), pytest.raises(Unscannable):
        list(MatroskaScan(source).places())
    assert len(tried) < 500_000
    assert sum(sizes) < 4 * file.stat().st_size


def test_a_search_ends_where_its_mark_may_begin_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "marks"
    file.write_bytes(bytes(600_000) + b"mark" + bytes(600_000))
    with counted(file, monkeypatch) as (source, sizes):
        assert source.find(b"mark", 10, 600_000 - 10) is None
        assert source.find(b"mark", 10, 600_001 - 10) == 600_000
        sizes.clear()
        assert source.find(b"mark", 600_001, 10) is None
    assert sum(sizes) <= 300_000


def test_a_file_that_takes_too_much_work_is_given_up(tmp_path: Path) -> None:
    """The bound of what nobody has thought of."""
    file = tmp_path / "hostile.mp3"
    file.write_bytes(b"LYRICSBEGIN" + bytes(21) + b"LYRICSBEGIN" * 20_000)
    with file.open("rb") as opened:
        source = ByteSource(opened.fileno(), file.stat().st_size, seconds=0.0)
        with pytest.raises(Unscannable):
            any(source.find(b"LYRICS200", at) for at in range(100_000))
