"""Which audio the death of a worker is charged to: the one that a child process was at."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lapel.foundation.ports import Ports
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.speech.at_audio import NOTE, at_audio
from lapel.slices.transcription.speech.failures import SpeechError, TurnOver
from lapel.slices.transcription.speech.messages import Describe, Group, Listen, Ready
from lapel.slices.transcription.work import lifecycle
from lapel.slices.transcription.work.runner import Runner
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.tools import WorkerStages
from tests.recordings.support import Device
from tests.transcription.audio.signals import silent_flac

DEATHS = "UPDATE speech_work SET charges = array_fill('dead'::text, ARRAY[$1::integer])"
STARTS = "SELECT cardinality(charges) FROM speech_work WHERE media_id = $1"


class Watched:
    """Notes, in their order: `at` the audio, `away` from it, and what else happens."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        NOTE.set(self._note)

    @asynccontextmanager
    async def _note(self) -> AsyncGenerator[None]:
        self.seen.append("at")
        try:
            yield
        finally:
            self.seen.append("away")


async def test_the_decoder_is_at_an_audio_only_in_its_turns(tmp_path: Path) -> None:
    watched, decoder = Watched(), Decoder(turn_seconds=0.05)
    file = tmp_path / "long.flac"
    file.write_bytes(silent_flac(1_500, rate=96_000, channels=8, block=16_384))
    turns = 1
    while True:
        try:
            await decoder.decode(file, declared="audio/flac")
            break
        except TurnOver:
            turns += 1
            watched.seen.append("paused")
    await decoder.aclose()
    assert turns > 1
    assert watched.seen == ["at", "away", *["paused", "at", "away"] * (turns - 1)]


class Models(Engine):
    """Answers at once, and tells when it is asked."""

    watched: Watched

    async def _ask(self, request: Any, answer: Any, **_: Any) -> Any:
        self.watched.seen.append(type(request).__name__)
        if answer is Ready:
            return Ready(model="base")
        return None


async def test_the_models_are_at_an_audio_only_when_they_are_loaded() -> None:
    """Loading may be a download of an hour."""
    models = Models()
    models.watched = watched = Watched()
    await models.listen(Listen(pcm="", start_ms=0, end_ms=1, language=None, model=None))
    await models.describe(Describe(pcm="", speech=[]))
    await models.group(Group(voices=[], num_speakers=None))
    assert watched.seen == [
        "Prepare", "at", "Listen", "away", "at", "Describe", "away", "at", "Group", "away",
    ]  # fmt: skip


class Noting(Decoder):
    """Reads what is written about the work when it is called, when it is at the audio, and after that."""

    def __init__(self, ports: Ports, media_id: str) -> None:
        super().__init__()
        self.ports, self.media_id = ports, media_id
        self.starts: list[int] = []

    async def decode(self, *_: Any, **__: Any) -> Any:
        await self._look()
        async with at_audio():
            await self._look()
        await self._look()
        raise SpeechError("audio_corrupt", "It is damaged.")

    async def _look(self) -> None:
        async with self.ports.database.acquire() as connection:
            self.starts.append(await connection.fetchval(STARTS, self.media_id))


@pytest.mark.parametrize("deaths", [0, 19, 20])
async def test_an_audio_is_given_up_after_twenty_deaths_of_workers_that_were_at_it(
    device: Device, ports: Ports, tmp_path: Path, deaths: int
) -> None:
    recording_id, media_id = await device.upload(b"OggS" + bytes(200))
    decoder = Noting(ports, media_id)
    scratch = Scratch(tmp_path / "scratch", ports.store, ports.database, LocalCopies(ports.database))
    runner = Runner(ports, WorkerStages(decoder=decoder, engine=Engine(ports.settings), scratch=scratch))
    world_id = device.tenant.test_world
    async with ports.database.transaction() as connection:
        await connection.execute("DELETE FROM speech_work")  # of other tests, which would come before
        await lifecycle.begin_probe(connection, world_id, recording_id, media_id, ports.clock.now())
        await connection.execute(DEATHS, deaths)
    await runner.run("decode")
    await runner.stop()
    assert decoder.starts == ([deaths, deaths + 1, deaths] if deaths < 20 else [])
    told = await device.call("GET", f"/v1/recordings/{recording_id}/waveform?points=100", 409)
    assert ("processing_error" in told["error"]["message"]) is (deaths == 20)
