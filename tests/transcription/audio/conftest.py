"""One decoder for the tests that leave it alive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.decoder import Decoder

Decode = Callable[..., Awaitable[AudioFacts]]


@pytest.fixture(scope="session")
async def decoder() -> AsyncGenerator[Decoder]:
    """A decoder with one child and no spare room asked for."""
    decoder = Decoder(children=1, spare_bytes=0)
    yield decoder
    await decoder.aclose()


@pytest.fixture
def decode(decoder: Decoder, tmp_path: Path) -> Decode:
    """Decodes bytes; the samples are then in `pcm` of tmp_path."""

    async def decode(data: bytes, declared: str = "audio/opus") -> AudioFacts:
        file = tmp_path / "upload.mp3"  # a name that lies, which nobody may believe
        file.write_bytes(data)
        return await decoder.decode(file, declared=declared, pcm=tmp_path / "pcm")

    return decode
