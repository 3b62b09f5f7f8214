"""A stage that needs the samples has all of them, however many turns their decoding takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.providers.protocol import Clip, Wish
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain, TurnOver
from lapel.slices.transcription.speech.messages import Describe, Group, Groups, Heard, Voices
from lapel.slices.transcription.work.scratch_place import ScratchPlace
from lapel.slices.transcription.work.stages import Stages
from tests.transcription.audio.signals import tone, wav

SECONDS = 60
BYTES = SECONDS * 16_000 * 2


class Source(NamedTuple):
    """An audio that is here already."""

    place: ScratchPlace
    content_type: str = "audio/wav"
    world_id: int = 1


class Reader:
    """Stands for a provider and for the speaker model: notes how many bytes of samples there are."""

    piecewise = reads_samples = tells_speakers = tells_languages = True

    def __init__(self) -> None:
        self.read: list[int] = []

    async def transcribe(self, clip: Clip, wish: Wish, report: Callable[[float], None]) -> Heard:  # noqa: ARG002
        self.read.append((await asyncio.to_thread(clip.pcm.stat)).st_size)
        return Heard(segments=[], speech=[(0, 60)], language=None, language_probability=None, model="reader")

    async def describe(self, request: Describe) -> Voices:
        self.read.append((await asyncio.to_thread(Path(request.pcm).stat)).st_size)
        return Voices(windows=[], embeddings=b"")

    async def group(self, request: Group) -> Groups:  # noqa: ARG002 - of the protocol
        raise AssertionError("no stage that is tested here groups voices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Here(Stages[Source]):
    """The stages, without a store."""

    @asynccontextmanager
    async def opened(self, audio: Source) -> AsyncGenerator[ScratchPlace]:
        yield audio.place


@pytest.fixture
def source(tmp_path: Path) -> Source:
    place = ScratchPlace(tmp_path, (1, "rec_1"), "", 0)
    place.file.write_bytes(wav(tone(48_000, SECONDS, 2).tobytes(), rate=48_000, channels=2))
    return Source(place)


async def in_turns(stage: Callable[[], Awaitable[object]]) -> int:
    """Repeat the stage until it is done, as the runner does; how many turns were not enough."""
    turns = 0
    while True:
        try:
            await stage()
        except TurnOver:
            turns += 1
        else:
            return turns


def leave_out(fault: SpeechError) -> str:
    raise AssertionError(f"speakers are left out: {fault}")


@pytest.mark.parametrize("stage", ["transcribe", "diarize"])
async def test_it_reads_all_samples_after_many_turns(source: Source, stage: str) -> None:
    reader = Reader()
    heard = Heard(segments=[], speech=[(0, 60)], language=None, language_probability=None, model="reader")
    decoder = Decoder(turn_seconds=0.01)
    stages = Here(decoder=decoder, engine=reader)
    stage_of: dict[str, Callable[[], Awaitable[object]]] = {
        "transcribe": lambda: stages.transcribe(source, (0, SECONDS * 1000), reader, Wish(), lambda _: None),
        "diarize": lambda: stages.diarize(source, heard, leave_out),
    }
    try:
        assert await in_turns(stage_of[stage]) > 0
    finally:
        await decoder.aclose()
    assert reader.read == [BYTES]


async def test_samples_that_a_probe_has_not_finished_are_not_read(source: Source) -> None:
    reader = Reader()
    decoder = Decoder(turn_seconds=0.01)
    stages = Here(decoder=decoder, engine=reader)
    try:
        with pytest.raises(TurnOver):
            await stages.probe(source, keep_samples=True)
        await in_turns(lambda: stages.transcribe(source, (0, SECONDS * 1000), reader, Wish(), lambda _: None))
    finally:
        await decoder.aclose()
    assert reader.read == [BYTES]


@pytest.mark.parametrize("keep_samples", [True, False])
async def test_a_probe_whose_result_was_lost_decodes_nothing_again(
    source: Source, keep_samples: bool
) -> None:
    decoder = Decoder()
    stages = Here(decoder=decoder, engine=Reader())
    try:
        facts = await stages.probe(source, keep_samples=True)
    finally:
        await decoder.aclose()  # from here on it refuses
    assert await stages.probe(source, keep_samples=keep_samples) == facts
    source.place.pcm.unlink()
    with pytest.raises(TryAgain):
        await stages.probe(source, keep_samples=keep_samples)
