"""More audio than a file can hold is refused, and nothing that an honest encoder makes is."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.speech.failures import SpeechError
from tests.transcription.audio.conftest import Decode
from tests.transcription.audio.signals import repeated_mp4, silent_flac, tone, wav

SECONDS = 240
DTX = {"dtx": "1", "application": "voip", "frame_duration": "120"}
ENCODERS = {
    "opus": ("mp4", "libopus", 48_000, {**DTX, "b": "500"}),
    "flac": ("flac", "flac", 8_000, {}),
    "aac": ("mp4", "aac", 8_000, {}),
    "mp3": ("mp3", "libmp3lame", 8_000, {"b": "8000"}),
    "wavpack": ("matroska", "wavpack", 8_000, {}),
    "ac3": ("matroska", "ac3", 32_000, {"b": "32000"}),
    "adpcm": ("wav", "adpcm_ima_wav", 8_000, {}),
}


def silence(container: str, codec: str, rate: int, options: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono", options=options)
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, rate * SECONDS), np.int16), "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


async def refusal(decode: Decode, data: bytes) -> tuple[str, str]:
    with pytest.raises(SpeechError) as failed:
        await decode(data)
    return failed.value.code, failed.value.message


@pytest.mark.parametrize("kind", ENCODERS)
async def test_minutes_of_silence_are_honest_however_an_encoder_writes_them(
    decode: Decode, kind: str
) -> None:
    facts = await decode(silence(*ENCODERS[kind]))
    assert abs(facts.duration_ms - SECONDS * 1_000) < 500


@pytest.mark.parametrize("padding", [0, 2 * 1024 * 1024])
async def test_hours_in_a_few_bytes_are_not_whatever_lies_beside_them(decode: Decode, padding: int) -> None:
    """25 bits per second: a day would be 270 kB."""
    code, message = await refusal(decode, silent_flac(2_000, rate=16_000, padding=padding))
    assert code == "audio_corrupt"
    assert "more than flac can hold" in message


@pytest.mark.parametrize("by_edits", [False, True])
async def test_the_same_bytes_again_and_again(decode: Decode, by_edits: bool) -> None:
    assert (await decode(repeated_mp4(1, by_edits=by_edits))).duration_ms >= 2_900
    code, message = await refusal(decode, repeated_mp4(400, by_edits=by_edits))
    assert code == "audio_corrupt"
    assert "same bytes more than once" in message


async def test_as_many_samples_as_so_many_hours_of_stereo_have(tmp_path: Path) -> None:
    """The length alone says little about the work: 8 channels of 192 kHz are 16 times as much."""
    file = tmp_path / "file"
    decoder = Decoder(children=1, spare_bytes=0, max_hours=0.01)  # 36 s; 3,456,000 samples
    try:
        file.write_bytes(silent_flac(7, rate=192_000, channels=8))  # 2.4 s; 3,669,960 samples
        with pytest.raises(SpeechError, match="3,456,000 samples") as failed:
            await decoder.decode(file, declared="audio/flac")
        assert failed.value.code == "processing_error"
        file.write_bytes(silent_flac(6, rate=192_000, channels=8))
        assert (await decoder.decode(file, declared="audio/flac")).channels == 8
        file.write_bytes(wav(tone(16_000, 30).tobytes()))
        assert (await decoder.decode(file, declared="audio/wav")).duration_ms == 30_000
    finally:
        await decoder.aclose()


async def test_at_most_8_channels_and_192_khz(decode: Decode) -> None:
    for data, limit in (
        (wav(bytes(4_000_000), channels=9), "at most 8"),
        (wav(bytes(4_000_000), rate=192_001), "1,000 to 192,000 Hz"),
        (silent_flac(20, rate=655_350), "1,000 to 192,000 Hz"),
    ):
        code, message = await refusal(decode, data)
        assert code == "unsupported_format"
        assert limit in message
