"""Every accepted kind of file is decoded, whatever it is called, and told for what it is."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from lapel.sample import speech
from lapel.slices.transcription.audio.decoder import Decoder
from tests.transcription.audio.conftest import Decode
from tests.transcription.audio.signals import caf, encoded, tone, wav

FULL = 32_768


@dataclass
class Kind:
    muxer: str
    encoder: str
    container: str
    codec: str
    mime_type: str
    rate: int = 48_000


KINDS = [
    Kind("ogg", "libopus", "ogg", "opus", "audio/ogg"),
    Kind("ogg", "flac", "ogg", "flac", "audio/ogg", 16_000),
    Kind("webm", "libopus", "webm", "opus", "audio/webm"),
    Kind("matroska", "pcm_s16le", "matroska", "pcm_s16le", "audio/matroska", 44_100),
    Kind("wav", "pcm_s16le", "wav", "pcm_s16le", "audio/wav", 16_000),
    Kind("wav", "pcm_f32le", "wav", "pcm_f32le", "audio/wav", 8_000),
    Kind("wav", "adpcm_ms", "wav", "adpcm_ms", "audio/wav", 16_000),
    Kind("mp3", "libmp3lame", "mp3", "mp3", "audio/mpeg", 16_000),
    Kind("mp4", "aac", "mp4", "aac", "audio/mp4", 44_100),
    Kind("ipod", "alac", "mp4", "alac", "audio/mp4", 44_100),
    Kind("mov", "aac", "mov", "aac", "audio/quicktime", 16_000),
    Kind("adts", "aac", "aac", "aac", "audio/aac"),
    Kind("flac", "flac", "flac", "flac", "audio/flac", 16_000),
    Kind("amr", "amr_nb", "amr", "amr_nb", "audio/amr", 8_000),
    Kind("caf", "pcm_s16le", "caf", "pcm_s16le", "audio/x-caf", 16_000),
    Kind("3gp", "aac", "3gp", "aac", "audio/3gpp", 16_000),
    Kind("3gp", "amr_nb", "3gp", "amr_nb", "audio/3gpp", 8_000),
    Kind("aiff", "pcm_s16be", "aiff", "pcm_s16be", "audio/aiff", 22_050),
]


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def samples(folder: Path) -> np.ndarray:
    return np.fromfile(folder / "pcm", "<i2").astype(np.float64)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.muxer}-{kind.encoder}")
async def test_what_a_device_may_send(kind: Kind, decode: Decode, tmp_path: Path) -> None:
    facts = await decode(encoded(kind.muxer, kind.encoder, kind.rate), "audio/none-of-these")
    assert (facts.container, facts.codec, facts.mime_type) == (kind.container, kind.codec, kind.mime_type)
    assert (facts.channels, facts.sample_rate) == (1, kind.rate)
    assert abs(facts.duration_ms - 3_000) <= 60
    assert facts.pieces == [(0, facts.duration_ms)]
    assert len(facts.peaks) == 4_000

    # What is written is what was spoken: the tone, at its place up to what a codec puts in front.
    heard, spoken = samples(tmp_path), tone(16_000)[:, 0].astype(np.float64)
    assert facts.duration_ms == len(heard) * 1_000 // 16_000
    size = 1 << 17
    across = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(spoken, size)))
    assert across.max() / (np.linalg.norm(heard) * np.linalg.norm(spoken)) > 0.95
    assert abs(np.argmax(np.roll(across, 1_600)) - 1_600) < 1_600
    assert max(facts.peaks) == pytest.approx(255 * np.abs(heard).max() / FULL, abs=1)


@pytest.mark.parametrize(
    ("muxer", "encoder", "declared", "true"),
    [
        ("ogg", "libopus", "audio/opus", "audio/opus"),
        ("ogg", "libopus", "Audio/Opus; codecs=opus", "audio/opus"),
        ("ogg", "libopus", "audio/webm", "audio/ogg"),
        ("ogg", "flac", "audio/opus", "audio/ogg"),
        ("mp4", "aac", "audio/x-m4a", "audio/x-m4a"),
        ("mp4", "aac", "audio/aac", "audio/mp4"),
        ("webm", "libopus", "audio/opus", "audio/webm"),
        ("3gp", "aac", "audio/mp4", "audio/3gpp"),
        ("wav", "pcm_s16le", "", "audio/wav"),
    ],
)
async def test_of_several_true_types_the_declared_one_is_kept(
    decode: Decode, muxer: str, encoder: str, declared: str, true: str
) -> None:
    facts = await decode(encoded(muxer, encoder, 48_000 if encoder == "libopus" else 16_000), declared)
    assert facts.mime_type == true


async def test_the_sample(decoder: Decoder, tmp_path: Path) -> None:
    sample = speech()
    facts = await decoder.decode(sample.path, declared=sample.content_type, pcm=tmp_path / "pcm")
    assert abs(facts.duration_ms - sample.duration_ms) <= 60
    assert facts.mime_type == sample.content_type
    assert (tmp_path / "pcm").stat().st_size == facts.duration_ms * 32


async def test_looking_only_writes_nothing(decoder: Decoder, tmp_path: Path) -> None:
    file = Path(shutil.copy(speech().path, tmp_path))
    facts = await decoder.decode(file, declared="audio/opus")
    assert facts.duration_ms > 24_000
    assert files(tmp_path) == [file]


async def test_a_browsers_webm_does_not_know_how_long_it_is(decode: Decode) -> None:
    data = encoded("webm", "libopus", streamed=True)
    with av.open(io.BytesIO(data), "r") as file:
        assert file.duration is None
    assert abs((await decode(data)).duration_ms - 3_000) <= 60


async def test_a_header_that_was_never_completed(decode: Decode) -> None:
    """A recorder that streams claims 4 GiB, or nothing at all."""
    pcm = tone(16_000).tobytes()
    assert (await decode(wav(pcm, claims=0xFFFF_FFFF))).duration_ms == 3_000
    assert abs((await decode(encoded("flac", "flac", 16_000, streamed=True))).duration_ms - 3_000) <= 60
    fragments = (("movflags", "frag_keyframe+empty_moov"),)
    assert abs((await decode(encoded("mp4", "aac", 16_000, muxer=fragments))).duration_ms - 3_000) <= 100


async def test_video_is_decoded_for_its_sound(decode: Decode) -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file, av.open(io.BytesIO(encoded("mp4", "aac")), "r") as sound:
        video = file.add_stream("mpeg4", rate=10, width=32, height=32, pix_fmt="yuv420p")
        audio = file.add_stream_from_template(sound.streams.audio[0])
        for _ in range(30):
            file.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
        file.mux(video.encode(None))
        for packet in sound.demux(audio=0):
            if packet.size:
                packet.stream = audio
                file.mux(packet)
    facts = await decode(out.getvalue(), "video/mp4")
    assert abs(facts.duration_ms - 3_000) <= 60
    assert facts.codec == "aac"


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 8])
async def test_microphones_are_averaged(decode: Decode, tmp_path: Path, channels: int) -> None:
    """Where the header does not say where each belongs."""
    pcm = np.zeros((16_000 * 2, channels), "<i2")
    pcm[:, 0] = 20_000
    facts = await decode(wav(pcm.tobytes(), channels=channels))
    assert facts.channels == channels
    assert np.median(samples(tmp_path)) == pytest.approx(20_000 / channels, abs=3)


@pytest.mark.parametrize("layout", ["stereo", "5.1", "7.1"])
async def test_channels_with_a_place(decode: Decode, tmp_path: Path, layout: str) -> None:
    channels = {"stereo": 2, "5.1": 6, "7.1": 8}[layout]
    facts = await decode(encoded("mp4", "aac", 48_000, layout=layout, channels=channels))
    assert facts.channels == channels
    assert abs(facts.duration_ms - 3_000) <= 60
    assert np.abs(samples(tmp_path)).max() > 5_000


@pytest.mark.parametrize("labels", [[2, 1], [3, 3, 3], [1, 2], [0xFFFF_FFFF] * 4, [1] * 8])
async def test_channels_listed_one_by_one(decoder: Decoder, decode: Decode, labels: list[int]) -> None:
    """What PyAV frees twice, unless it is kept from it."""
    await decode(wav(bytes(64_000)))
    pids = decoder.pids
    facts = await decode(caf(bytes(96_000 * len(labels)), labels))
    assert (facts.duration_ms, facts.channels) == (3_000, len(labels))
    assert decoder.pids == pids


async def test_rate_and_channels_may_change_on_the_way(decode: Decode, tmp_path: Path) -> None:
    """Files that were put one behind the other."""
    parts = [
        encoded("adts", "aac", 16_000),
        encoded("adts", "aac", 48_000, layout="stereo", channels=2),
        encoded("adts", "aac", 8_000),
        encoded("adts", "aac", 48_000, layout="5.1", channels=6),
    ]
    facts = await decode(b"".join(parts))
    assert abs(facts.duration_ms - 12_000) <= 600  # each has its priming, which no header takes off
    assert (facts.channels, facts.sample_rate) == (1, 16_000)
    heard = samples(tmp_path)
    for part in range(4):
        assert np.abs(heard[part * 48_000 + 8_000 :][:32_000]).max() > 5_000

    chained = encoded("ogg", "libopus") + encoded("ogg", "libopus", seconds=2)
    assert abs((await decode(chained)).duration_ms - 5_000) <= 120


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 44_100, 192_000])
async def test_any_sensible_rate(decode: Decode, rate: int) -> None:
    facts = await decode(wav(tone(rate, 1.5).tobytes(), rate=rate))
    assert facts.sample_rate == rate
    assert abs(facts.duration_ms - 1_500) <= 30


async def test_full_scale_and_silence(decode: Decode) -> None:
    square = np.tile(np.repeat(np.array([-32_768, 32_767], "<i2"), 4_000), 4)
    facts = await decode(wav(square.tobytes()))
    assert set(facts.peaks) == {255}
    facts = await decode(wav(bytes(64_000)))
    assert set(facts.peaks) == {0}
