"""Files that are broken, made up, or something else: each ends with a code, and the child lives on."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lapel.sample import speech
from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.speech.failures import SpeechError
from tests.transcription.audio.conftest import Decode
from tests.transcription.audio.signals import caf, encoded, silent_flac, tone, video_only, wav

CODES = {"audio_corrupt", "audio_too_short", "unsupported_format"}
FRAGMENTS = (("movflags", "frag_keyframe+empty_moov"), ("frag_duration", "200000"))
WHOLE = {
    "ogg": lambda: encoded("ogg", "libopus"),
    "webm": lambda: encoded("webm", "libopus"),
    "wav": lambda: encoded("wav", "pcm_s16le", 16_000),
    "mp3": lambda: encoded("mp3", "libmp3lame", 16_000),
    "aac": lambda: encoded("adts", "aac", 16_000),
    "flac": lambda: encoded("flac", "flac", 16_000),
    "mp4": lambda: encoded("mp4", "aac", 16_000),
    "fragmented mp4": lambda: encoded("mp4", "aac", 16_000, muxer=FRAGMENTS),
}


async def refused(decode: Decode, data: bytes) -> SpeechError:
    with pytest.raises(SpeechError) as failed:
        await decode(data)
    return failed.value


async def decoded_or_refused(decode: Decode, data: bytes) -> AudioFacts | None:
    """None when it was refused, with a code that fits."""
    try:
        return await decode(data)
    except SpeechError as failed:
        if failed.code not in CODES:
            raise
        return None


@pytest.fixture(autouse=True)
async def survived(decoder: Decoder, decode: Decode, tmp_path: Path) -> object:
    """Nothing here brings down the child, and no samples are left behind by a file that failed."""
    await decode(wav(bytes(64_000)))
    pids = decoder.pids
    (tmp_path / "pcm").unlink()
    yield
    assert decoder.pids == pids


NO_AUDIO = {
    "text": b"Dear all,\nthis is no recording.\n" * 100,
    "JSON": b'{"audio": "none"}',
    "HTML": b"<!doctype html><html><body>404 Not Found</body></html>",
    "zeros": bytes(100_000),
    "ones": b"\xff" * 100_000,
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\x02\0\0\0" + bytes(500),
    "PDF": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" * 20,
    "ZIP": b"PK\x03\x04" + bytes(1_000),
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(5_000),
    "one byte": b"O",
    "subtitles": b"1\n00:00:00,000 --> 00:00:10,000\nHello\n\n" * 20,
    "video raw": b"\0\0\x01\xb3\x14\x00\xf0\x13\xff\xff\xe0\x18" + bytes(4_000),
}


@pytest.mark.parametrize("what", NO_AUDIO)
async def test_what_is_no_audio(decode: Decode, tmp_path: Path, what: str) -> None:
    failed = await refused(decode, NO_AUDIO[what])
    assert failed.code == ("audio_corrupt" if what == "ones" else "unsupported_format")
    assert not (tmp_path / "pcm").exists()


async def test_an_empty_file(decode: Decode) -> None:
    assert (await refused(decode, b"")).code == "audio_corrupt"


async def test_a_film_without_sound(decode: Decode) -> None:
    failed = await refused(decode, video_only())
    assert (failed.code, "no audio" in failed.message) == ("unsupported_format", True)


@pytest.mark.parametrize("milliseconds", [0, 1, 500, 999])
async def test_too_short(decode: Decode, tmp_path: Path, milliseconds: int) -> None:
    failed = await refused(decode, wav(bytes(milliseconds * 32)))
    assert failed.code == "audio_too_short"
    assert f"{milliseconds / 1_000:g} s" in failed.message
    assert not (tmp_path / "pcm").exists()


async def test_a_second_is_enough(decode: Decode) -> None:
    assert (await decode(wav(bytes(32_000)))).duration_ms == 1_000


def reference_to(other: Path) -> dict[str, bytes]:
    """Files that FFmpeg would open another file for."""
    return {
        "concat": f"ffconcat version 1.0\nfile {other}\n".encode(),
        "hls": (
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:30\n"
            f"#EXTINF:25,\nfile:{other}\n#EXT-X-ENDLIST\n"
        ).encode(),
        "nested hls": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nfile://{other}\n".encode(),
        "dash": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            'mediaPresentationDuration="PT25S"><Period><AdaptationSet mimeType="audio/webm">'
            f'<Representation id="1" bandwidth="1000"><BaseURL>file://{other}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>"
        ).encode(),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        "pls": f"[playlist]\nFile1={other}\nNumberOfEntries=1\n".encode(),
        "asx": f'<ASX version="3.0"><Entry><Ref href="file://{other}"/></Entry></ASX>'.encode(),
        "image sequence": b"%d.png",
    }


async def test_the_concat_file_works_where_nobody_stops_it(tmp_path: Path) -> None:
    """Else the next test could not fail."""
    playlist = tmp_path / "list"
    playlist.write_bytes(reference_to(speech().path)["concat"])
    with av.open(str(playlist), "r", options={"safe": "0"}) as file:
        assert file.streams.audio[0].codec_context.name == "opus"


@pytest.mark.parametrize("kind", reference_to(Path("x")))
async def test_a_file_that_names_another_one_does_not_get_it(decode: Decode, kind: str) -> None:
    failed = await refused(decode, reference_to(speech().path)[kind])
    assert failed.code == "unsupported_format"


@pytest.mark.parametrize("kind", WHOLE)
async def test_cut_anywhere(decode: Decode, kind: str) -> None:
    whole = WHOLE[kind]()
    offsets = {1, 3, 4, 7, 12, 30, 44, 60, 100, 200, 500} | {len(whole) * n // 9 for n in range(1, 9)}
    for offset in sorted(offsets):
        facts = await decoded_or_refused(decode, whole[:offset])
        assert facts is None or 1_000 <= facts.duration_ms <= 3_200


@pytest.mark.parametrize("kind", [kind for kind in WHOLE if kind != "mp4"])
async def test_a_torn_end_loses_what_was_torn_off(decode: Decode, kind: str) -> None:
    whole = WHOLE[kind]()
    facts = await decode(whole[: len(whole) * 3 // 4])
    assert 1_800 <= facts.duration_ms <= 2_500


async def test_an_mp4_without_its_index_is_corrupt(decode: Decode) -> None:
    whole = WHOLE["mp4"]()
    assert (await refused(decode, whole[: len(whole) * 3 // 4])).code == "audio_corrupt"


async def test_a_fragmented_mp4_that_is_torn_in_an_index(decode: Decode) -> None:
    whole = WHOLE["fragmented mp4"]()
    last = whole.rindex(b"moof")
    for offset in (last - 4, last, last + 5, last + 40, last + 90):
        assert (await decode(whole[:offset])).duration_ms > 2_500


async def test_so_short_an_end_that_the_header_is_false(decode: Decode) -> None:
    whole = WHOLE["webm"]()
    failed = await refused(decode, whole[: len(whole) // 5])
    assert (failed.code, "cut off" in failed.message) == ("audio_corrupt", True)


def damaged(share: float) -> bytes:
    """An AAC file of which such a share of the packets is noise."""
    whole = bytearray(encoded("matroska", "aac", 16_000, seconds=10))
    noise = random.Random(7)
    with av.open(Unnamed(bytes(whole)), "r") as file:
        packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    at = 0
    for number, packet in enumerate(packets):
        at = whole.index(packet, at)
        if number >= len(packets) * (1 - share):
            whole[at : at + len(packet)] = noise.randbytes(len(packet))
        at += len(packet)
    return bytes(whole)


class Unnamed:
    """Bytes as a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        piece, self._data = self._data[:size], self._data[size:]
        return piece


async def test_a_little_damage_is_borne_and_much_is_not(decode: Decode) -> None:
    assert (await decode(damaged(0.0))).duration_ms >= 9_900
    assert (await decode(damaged(0.2))).duration_ms >= 8_000
    failed = await refused(decode, damaged(0.9))
    assert (failed.code, "damaged" in failed.message) == ("audio_corrupt", True)


async def test_what_breaks_off_before_its_middle_is_corrupt(decode: Decode) -> None:
    """Parameters that change where they must not: FFmpeg reads such an Ogg no further."""
    first, second = encoded("ogg", "libopus"), encoded("ogg", "libopus", layout="stereo", channels=2)
    assert (await refused(decode, first + second + second)).code == "audio_corrupt"
    assert abs((await decode(first + first + second[:9_000])).duration_ms - 6_000) <= 120


@pytest.mark.parametrize("rate", [1, 999, 192_001, 384_000, 0x7FFF_FFFF, 0xFFFF_FFFF])
async def test_absurd_rates(decode: Decode, rate: int) -> None:
    assert (await refused(decode, wav(bytes(4_000_000), rate=rate))).code in CODES


@pytest.mark.parametrize("channels", [0, 9, 64, 200, 512, 513, 65_535])
async def test_absurd_numbers_of_channels(decode: Decode, channels: int) -> None:
    data = wav(bytes(4_000_000), channels=channels)
    assert (await refused(decode, data)).code in {"audio_corrupt", "unsupported_format"}


async def test_a_header_that_promises_decades(decode: Decode) -> None:
    assert (await decode(silent_flac(2, claims=2**36 - 1))).duration_ms == 2 * 65_535 * 1_000 // 48_000


async def test_an_index_of_billions(decode: Decode) -> None:
    whole = bytearray(WHOLE["mp4"]())
    at = whole.index(b"stsz")
    whole[at + 8 : at + 16] = struct.pack(">II", 100, 2_000_000_000)
    assert (await refused(decode, bytes(whole))).code == "audio_corrupt"


async def test_a_chunk_before_the_start_of_the_file(decode: Decode) -> None:
    whole = bytearray(caf(tone(16_000).tobytes(), [1]))
    at = whole.index(b"chan")
    whole[at + 4 : at + 12] = struct.pack(">q", -(2**62))
    assert (await refused(decode, bytes(whole))).code in CODES


async def test_a_codec_that_makes_sound_of_nothing(decode: Decode) -> None:
    """FFmpeg's synthesiser: hours of sound in a few bytes."""
    whole = bytearray(encoded("matroska", "pcm_s16le", 16_000))
    at = whole.index(b"A_PCM/INT/LIT")
    whole[at : at + 13] = b"A_UNKNOWN/XYZ"
    assert (await refused(decode, bytes(whole))).code == "unsupported_format"


MAGIC = [b"", b"OggS\0\x02", b"RIFF\0\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"ID3\x04\0\0", b"\xff\xfb\x90\x64"]
MAGIC += [b"\xff\xf1\x50\x80", b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", b"\0\0\0\x18ftypM4A ", b"#!AMR\n"]
MAGIC += [b"caff\0\1\0\0desc", b"FORM\0\0\0\0AIFFCOMM", b".snd\0\0\0\x18", b"riff\x2e\x91\xcf\x11"]

quickly = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@quickly
@given(head=st.sampled_from(MAGIC), seed=st.integers(0, 2**32), size=st.integers(0, 20_000))
async def test_random_bytes(decode: Decode, head: bytes, seed: int, size: int) -> None:
    facts = await decoded_or_refused(decode, head + random.Random(seed).randbytes(size))
    assert facts is None or facts.duration_ms >= 1_000


@quickly
@given(kind=st.sampled_from(sorted(WHOLE)), seed=st.integers(0, 2**32), many=st.sampled_from([1, 10, 300]))
async def test_flipped_bytes(decode: Decode, kind: str, seed: int, many: int) -> None:
    chance = random.Random(seed)
    data = bytearray(WHOLE[kind]())
    reach = chance.choice([64, 1_000, len(data)])
    for _ in range(many):
        data[chance.randrange(min(reach, len(data)))] = chance.choice([0, 255, chance.randrange(256)])
    facts = await decoded_or_refused(decode, bytes(data))
    assert facts is None or facts.pieces[-1][1] == facts.duration_ms >= 1_000
