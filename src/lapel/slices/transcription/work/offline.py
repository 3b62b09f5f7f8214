"""Transcribes one file without a server: all steps of stages.py in a row, with the results in memory."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.audio.damage.damage_record import gaps_of
from lapel.slices.transcription.audio.damage.damage_warnings import warnings_of
from lapel.slices.transcription.payloads import Stage
from lapel.slices.transcription.speech.messages import Heard, Voices, pcm_name
from lapel.slices.transcription.speech.transcript import Transcript
from lapel.slices.transcription.work.progress import Progress, share_of_audio
from lapel.slices.transcription.work.stages import Plan, Stages, Step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.slices.transcription.audio.decoder import Decoder
    from lapel.slices.transcription.providers.protocol import Transcriber, Wish
    from lapel.slices.transcription.speech.failures import SpeechError
    from lapel.slices.transcription.work.stages import VoiceEngine


class Status(msgspec.Struct, frozen=True):
    """The progress of a file. `progress`: of all stages, 0 to 1. `duration_ms`: None until it is decoded."""

    stage: Stage
    progress: float
    duration_ms: int | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a file."""

    transcript: Transcript
    facts: AudioFacts


async def transcribe(
    file: Path,
    wish: Wish,
    *,
    decoder: Decoder,
    transcriber: Transcriber,
    engine: VoiceEngine,
    folder: Path,
    report: Callable[[Status], None],
) -> Outcome:
    """Transcribe an audio file, with speakers if `wish.diarization` is set.

    The scratch files (115 MB per hour of audio) are in a new folder inside `folder`. The new folder is
    removed at the end, also after an error. If the weights of the speaker model are missing, the speakers are
    left out, with a warning.

    Raises SpeechError when another try cannot help, and TryAgain when another try may help (DiskFull for a
    full disk). Raises TurnOver when the decoder has turns and a turn has ended. Raises OSError when a scratch
    file cannot be made.
    """
    scratch = Path(tempfile.mkdtemp(prefix="audio-", dir=folder))
    try:
        stages = _FileStages(decoder=decoder, engine=engine)
        return await _Run(_File(file, pcm_name(scratch)), wish, transcriber, stages, report).outcome()
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _File:
    """A file on this machine. Its type is not declared, and all files belong to one world."""

    file: Path
    pcm: Path
    content_type: str = ""
    world_id: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    facts: None = None

    def set_decoded(self, facts: AudioFacts) -> None:
        """Nothing: no later process uses the samples."""


class _FileStages(Stages[_File]):
    """The stages on a file that is read in place."""

    @asynccontextmanager
    async def opened(self, audio: _File) -> AsyncGenerator[_File]:
        """The file itself."""
        yield audio


class _Run:
    """The transcription of one file."""

    def __init__(
        self,
        file: _File,
        wish: Wish,
        transcriber: Transcriber,
        stages: Stages[_File],
        report: Callable[[Status], None],
    ) -> None:
        self._file = file
        self._stages = stages
        self._report = report
        # The pieces and the length are known once the file is probed.
        self._plan = Plan(wish=wish, transcriber=transcriber, cuts=[], duration_ms=0)
        self._progress = Progress(self._tell, diarization=self._plan.diarizes)
        self._duration_ms: int | None = None
        self._heard: list[Heard] = []
        self._voices: list[Voices] = []

    async def outcome(self) -> Outcome:
        facts = await self._probe()
        step = self._plan.after(Step("probe"), 0)
        while step is not None and step.stage != "finish":
            await (self._transcribe if step.stage == "transcribe" else self._diarize)(step.piece)
            step = self._plan.after(step, len(self._plan.pieces))
        self._progress("finish", 0)
        transcript = await self._stages.finish(self._plan, self._heard, self._voices)
        self._progress("finish", 1)
        return Outcome(transcript=transcript, facts=facts)

    async def _probe(self) -> AudioFacts:
        self._progress("probe", 0)
        facts = await self._stages.probe(self._file, keep_samples=True)
        self._file = replace(self._file, content_type=facts.mime_type)
        self._plan = replace(
            self._plan,
            cuts=facts.pieces,
            duration_ms=facts.duration_ms,
            gaps=gaps_of(facts.damage, facts.duration_ms),
            warnings=warnings_of(facts, None),
        )
        self._duration_ms = facts.duration_ms
        return facts

    async def _transcribe(self, piece: int) -> None:
        plan, report = self._plan, self._plan.reporter(self._progress, piece)
        report(0)
        wish = await plan.wish_for(piece, self._earlier)
        heard = await self._stages.transcribe(self._file, plan.pieces[piece], plan.transcriber, wish, report)
        self._heard.append(heard)

    async def _diarize(self, piece: int) -> None:
        self._progress("diarize", share_of_audio(self._plan.pieces, piece, 0))
        self._voices.append(await self._stages.diarize(self._file, self._heard[piece], _reason))

    async def _earlier(self, piece: int) -> Heard:
        return self._heard[piece]

    def _tell(self, stage: Stage, progress: float) -> None:
        self._report(Status(stage, progress, self._duration_ms))


def _reason(error: SpeechError) -> str:
    """With the remedy, because the caller runs this machine."""
    return error.message
