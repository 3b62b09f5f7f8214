"""A file that is cut or overwritten anywhere: an error, a warning, or hardly anything missing."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.speech.failures import SpeechError
from tests.transcription.audio.conftest import Decode
from tests.transcription.audio.signals import encoded
from tests.transcription.audio.torn import FRAGMENTS, WHOLE

# Milliseconds: what may be missing without a word.
TOLERANCE = 500
LIVE = {
    "live webm": lambda: encoded("webm", "libopus", seconds=30, streamed=True),
    "live mp4": lambda: encoded("mp4", "aac", 16_000, seconds=30, streamed=True, muxer=FRAGMENTS),
}
FILES = WHOLE | LIVE
# Bytes at the start without which the format is unknown, or that say how long the audio is.
HEADER = 1_000
# What begins a page or a frame: a file without a length in its header may end before it.
BEGINNINGS = (b"OggS", b"\xff\xf1", b"\x1f\x43\xb6\x75", b"\xa3", b"\0\0\0")

# Bytes that follow a lost stretch: some frames. If the last frame is made of two of equal size, a file
# without a length in its header ends as if nothing was lost.
AFTER = 8_192

drawn = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
kinds = st.sampled_from(sorted(FILES))
share = st.floats(0, 1)
full: dict[str, AudioFacts] = {}


async def told(decode: Decode, kind: str, data: bytes) -> None:
    if kind not in full:
        full[kind] = await decode(FILES[kind]())
        assert full[kind].damage == []
    try:
        facts = await decode(data)
    except SpeechError as refused:
        if refused.code not in ("audio_corrupt", "audio_too_short", "unsupported_format"):
            raise
        return
    assert facts.damage or facts.duration_ms >= full[kind].duration_ms - TOLERANCE


@pytest.mark.deep
@drawn
@given(kind=kinds, at=share)
async def test_cut(decode: Decode, kind: str, at: float) -> None:
    whole = FILES[kind]()
    end = round(at * len(whole))
    assume(not whole[end:].startswith(BEGINNINGS))
    await told(decode, kind, whole[:end])


@pytest.mark.deep
@drawn
@given(
    kind=kinds, at=share, length=st.integers(200, 300_000), zeros=st.booleans(), seed=st.integers(0, 2**32)
)
async def test_overwritten(
    decode: Decode, kind: str, at: float, length: int, *, zeros: bool, seed: int
) -> None:
    whole = FILES[kind]()
    begin = max(round(at * len(whole)), HEADER)
    end = min(begin + length, len(whole))
    other = bytes(end - begin) if zeros else random.Random(seed).randbytes(end - begin)
    await told(decode, kind, whole[:begin] + other + whole[end:])


@pytest.mark.deep
@drawn
@given(kind=kinds, at=share, length=st.integers(4_096, 300_000))
async def test_a_stretch_that_was_lost(decode: Decode, kind: str, at: float, length: int) -> None:
    whole = FILES[kind]()
    begin = max(round(at * len(whole)), HEADER)
    assume(begin + length + AFTER < len(whole))
    assume(not (whole[begin:].startswith(BEGINNINGS) and whole[begin + length :].startswith(BEGINNINGS)))
    await told(decode, kind, whole[:begin] + whole[begin + length :])
