"""Transcribes one file without a server: the same steps that the server's jobs do one by one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from lapel.slices.transcription.audio.audio_facts import AudioFacts
from lapel.slices.transcription.providers.protocol import Clip, Transcriber, Wish
from lapel.slices.transcription.speech.assembly import assemble, settled_language
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import Describe, Group, Groups, Heard, Voices, pcm_name
from lapel.slices.transcription.speech.transcript import Transcript
from lapel.slices.transcription.work.progress import Progress, Stage, share_of_audio

if TYPE_CHECKING:
    from lapel.slices.transcription.audio.decoder import Decoder


class VoiceEngine(Protocol):
    """Tells voices apart. `engine.client.Engine` implements it."""

    async def describe(self, request: Describe, /) -> Voices:
        """Embed the voices in some stretches. Raises SpeechError, TryAgain."""
        ...

    async def group(self, request: Group, /) -> Groups:
        """Cluster the voices. Raises SpeechError, TryAgain."""
        ...


class Status(msgspec.Struct, frozen=True):
    """The progress of a file: `progress` 0 to 1 of the whole; `duration_ms` once the file is decoded."""

    stage: Stage
    progress: float
    duration_ms: int | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a file. `warnings`: sentences about what was left out."""

    transcript: Transcript
    facts: AudioFacts
    warnings: list[str]


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

    Scratch files (115 MB per hour of audio) are in a new folder in `folder`, which is removed at the end,
    also after an error. Without the weights of the speaker model the speakers are left out, with a warning.

    Raises SpeechError when another try cannot help, TryAgain (DiskFull for a full disk) when it may, TurnOver
    if the decoder has turns and this one has ended, and OSError when a scratch file cannot be made.
    """
    scratch = Path(tempfile.mkdtemp(prefix="audio-", dir=folder))
    try:
        return await _Run(file, wish, decoder, transcriber, engine, scratch, report).outcome()
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


class _Run:
    """The transcription of one file."""

    def __init__(
        self,
        file: Path,
        wish: Wish,
        decoder: Decoder,
        transcriber: Transcriber,
        engine: VoiceEngine,
        scratch: Path,
        report: Callable[[Status], None],
    ) -> None:
        self._file = file
        self._wish = wish
        self._decoder = decoder
        self._transcriber = transcriber
        self._engine = engine
        self._pcm = pcm_name(scratch)
        self._report = report
        self._duration_ms: int | None = None
        # If the provider diarizes, our own models do not.
        self._grouping = wish.diarization and not transcriber.tells_speakers
        self._progress = Progress(self._tell, diarization=self._grouping)
        self._warnings: list[str] = []

    async def outcome(self) -> Outcome:
        self._progress("probe", 0)
        facts = await self._decoder.decode(self._file, declared="", pcm=self._pcm)
        self._duration_ms = facts.duration_ms
        pieces = facts.pieces if self._transcriber.piecewise else [(0, facts.duration_ms)]
        heard = await self._listen(facts, pieces)
        groups = await self._group(heard, pieces) if self._grouping else None
        self._progress("finish", 0)
        made = await asyncio.to_thread(assemble, heard, pieces, groups, duration_ms=facts.duration_ms)
        self._progress("finish", 1)
        return Outcome(transcript=made, facts=facts, warnings=self._warnings)

    async def _listen(self, facts: AudioFacts, pieces: list[tuple[int, int]]) -> list[Heard]:
        """Transcribe piece by piece. A language that one piece made clear holds for the later pieces."""
        heard: list[Heard] = []
        for index, (start_ms, end_ms) in enumerate(pieces):
            language = self._wish.language or settled_language(heard)
            wish = msgspec.structs.replace(self._wish, language=language)
            clip = Clip(
                file=self._file,
                content_type=facts.mime_type,
                pcm=self._pcm,
                start_ms=start_ms,
                end_ms=end_ms,
            )
            told = self._telling("transcribe", pieces, index)
            told(0)
            heard.append(await self._transcriber.transcribe(clip, wish, told))
        return heard

    async def _group(self, heard: list[Heard], pieces: list[tuple[int, int]]) -> Groups | None:
        """Diarize; None without speech, or without the weights of the speaker model."""
        try:
            voices = await self._describe(heard, pieces)
        except SpeechError as fault:
            self._warnings.append(f"The speakers are left out. {fault.message}")
            return None
        if not any(each.windows for each in voices):
            return None
        return await self._engine.group(Group(voices=voices, num_speakers=self._wish.num_speakers))

    async def _describe(self, heard: list[Heard], pieces: list[tuple[int, int]]) -> list[Voices]:
        voices: list[Voices] = []
        for index, each in enumerate(heard):
            self._telling("diarize", pieces, index)(0)
            spoken = each.spoken
            if spoken:
                voices.append(await self._engine.describe(Describe(pcm=str(self._pcm), speech=spoken)))
        return voices

    def _telling(self, stage: Stage, pieces: list[tuple[int, int]], index: int) -> Callable[[float], None]:
        """A function that reports the progress within one piece, 0 to 1."""
        return lambda share: self._progress(stage, share_of_audio(pieces, index, share))

    def _tell(self, stage: Stage, progress: float) -> None:
        self._report(Status(stage, progress, self._duration_ms))
