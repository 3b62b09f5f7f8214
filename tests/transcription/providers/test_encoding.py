"""A piece is sent as it was decoded; a long one smaller."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from lapel.slices.transcription.providers.encoding import encode
from lapel.slices.transcription.providers.protocol import Clip

MOST = 25_000_000


def samples_of(file: Path) -> tuple[np.ndarray, int]:
    """What another would decode."""
    with av.open(str(file), mode="r") as container:
        frames = list(container.decode(audio=0))
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]), frames[0].sample_rate


@pytest.mark.parametrize(("start", "end"), [(0, 4_000), (1_001, 2_003), (3_000, 60_000)])
def test_flac_is_the_same_samples(clip: Clip, tmp_path: Path, start: int, end: int) -> None:
    file, content_type = encode(clip.pcm, start, end, tmp_path, most_bytes=MOST)
    found, rate = samples_of(file)
    assert (content_type, file.suffix, rate) == ("audio/flac", ".flac", 16_000)
    assert np.array_equal(found, np.fromfile(clip.pcm, dtype="<i2")[start * 16 : end * 16])


def test_what_is_long_becomes_opus_below_the_limit(tmp_path: Path) -> None:
    pcm = tmp_path / "audio.pcm"
    noise = np.random.default_rng(4).normal(0, 8_000, 16_000 * 20)
    pcm.write_bytes(noise.clip(-32_768, 32_767).astype("<i2").tobytes())
    file, content_type = encode(pcm, 0, 20_000, tmp_path, most_bytes=50_000, lossless_ms=10_000)
    found, rate = samples_of(file)
    assert (content_type, file.suffix) == ("audio/ogg", ".ogg")
    assert file.stat().st_size <= 50_000
    assert found.size / rate == pytest.approx(20, abs=0.01)
