"""A clip of real speech, and fakes of the providers to send it to."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import av
import pytest

from lapel.sample import speech
from lapel.slices.transcription.providers.protocol import Clip
from tests.support.speech_providers import ENGINES, Fake, serving_fake

SECONDS = 4


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """The first seconds of the sample: file and samples."""
    folder = tmp_path_factory.mktemp("clip")
    pcm, file = folder / "audio.pcm", folder / "audio.opus"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    with av.open(str(speech().path)) as whole, av.open(str(file), "w", format="ogg") as shorter:
        stream = shorter.add_stream("libopus", rate=48_000)
        stream.layout = "mono"
        samples = b""
        for frame in whole.decode(audio=0):
            if (frame.time or 0) >= SECONDS:
                break
            shorter.mux(stream.encode(frame))
            samples += b"".join(each.to_ndarray().tobytes() for each in resampler.resample(frame))
        shorter.mux(stream.encode(None))
    pcm.write_bytes(samples)
    return Clip(file=file, content_type="audio/opus", pcm=pcm, start_ms=0, end_ms=len(samples) // 32)


@pytest.fixture(params=ENGINES)
async def fake(request: pytest.FixtureRequest) -> AsyncGenerator[Fake]:
    """Each of the fakes. What it was sent must have been as documented."""
    async with serving_fake(Fake(request.param)) as started:
        yield started
    assert started.complaints == []
