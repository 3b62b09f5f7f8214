"""The tools that do single steps on an audio, without access to transcriptions in the database."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lapel.foundation.queue.jobs import AT_ONCE
from lapel.slices.erasure.service import LocalCopies
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.providers.local import LocalTranscriber
from lapel.slices.transcription.providers.protocol import Clip
from lapel.slices.transcription.speech.assembly import Piece, assemble
from lapel.slices.transcription.speech.messages import Describe, Group, Heard, Voices
from lapel.slices.transcription.work.scratch import Scratch

# Seconds for which a file is decoded before another one has its turn.
_TURN_SECONDS = 0.5

if TYPE_CHECKING:
    from collections.abc import Callable

    from lapel.foundation.ports import Ports
    from lapel.settings import Settings
    from lapel.slices.recordings.service import Audio
    from lapel.slices.transcription.audio.audio_facts import AudioFacts
    from lapel.slices.transcription.providers.protocol import Transcriber, Wish
    from lapel.slices.transcription.speech.transcript import Transcript
    from lapel.slices.transcription.work.scratch import ScratchPlace

    Report = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The tools of one process: a decoder, the local models, scratch space on the disk.

    `probe`, `transcribe` and `describe` fetch the audio, and raise the errors of `Scratch.audio`: Gone,
    StoreUnavailable, Unavailable, OSError. They decode it if needed, and raise those of `Decoder.decode`:
    SpeechError, TryAgain, TurnOver, OSError.
    """

    decoder: Decoder
    engine: Engine
    scratch: Scratch

    def local(self, model: str | None) -> Transcriber:
        """The local model as a provider."""
        return LocalTranscriber(self.engine, model)

    async def probe(self, audio: Audio, *, keep_samples: bool) -> AudioFacts:
        """Decode the audio and return its properties. `keep_samples`: write the samples, for the next step.

        Raises SpeechError, TryAgain, TurnOver, and those of `Scratch.audio`: see the class.
        """
        async with self.scratch.audio(audio) as place, place.lock:
            pcm = place.pcm if keep_samples else None
            return await self._decode(audio, place, pcm)

    async def transcribe(
        self, audio: Audio, piece: Piece, transcriber: Transcriber, wish: Wish, report: Report
    ) -> Heard:
        """Transcribe a piece (start and end in ms). `report` is called with the progress, 0 to 1.

        Raises SpeechError, TryAgain, TurnOver, and those of `Scratch.audio`: see the class.
        """
        async with self.scratch.audio(audio) as place:
            if transcriber.reads_samples:
                await self._decoded(audio, place)
            clip = Clip(
                file=place.file,
                content_type=audio.content_type,
                pcm=place.pcm,
                start_ms=piece[0],
                end_ms=piece[1],
            )
            return await transcriber.transcribe(clip, wish, report)

    async def describe(self, audio: Audio, heard: Heard) -> Voices:
        """Embed the voices of a piece.

        Raises SpeechError, TryAgain, TurnOver, and those of `Scratch.audio`: see the class.
        """
        spoken = heard.spoken if heard.timed else []
        if not spoken:
            return Voices(windows=[], embeddings=b"")
        async with self.scratch.audio(audio) as place:
            await self._decoded(audio, place)
            return await self.engine.describe(Describe(pcm=str(place.pcm), speech=spoken))

    async def finish(
        self, heard: list[Heard], voices: list[Voices], pieces: list[Piece], wish: Wish, duration_ms: int
    ) -> Transcript:
        """Group the voices and assemble the transcript. Raises SpeechError, TryAgain as `Engine.group`."""
        groups = None
        if any(each.windows for each in voices):
            groups = await self.engine.group(Group(voices=voices, num_speakers=wish.num_speakers))
        return await asyncio.to_thread(assemble, heard, pieces, groups, duration_ms=duration_ms)

    async def _decoded(self, audio: Audio, place: ScratchPlace) -> None:
        """Decode the audio unless its samples are still here from an earlier step."""
        async with place.lock:
            if not place.pcm.exists():
                await self._decode(audio, place, place.pcm)

    async def _decode(self, audio: Audio, place: ScratchPlace, pcm: Path | None) -> AudioFacts:
        return await self.decoder.decode(
            place.file, declared=audio.content_type, pcm=pcm, owner=audio.world_id
        )

    async def close(self) -> None:
        """End the child processes and remove the files."""
        await self.engine.aclose()
        await self.decoder.aclose()
        await self.scratch.close()


def steps_of(ports: Ports) -> Steps:
    """The tools of a worker process. No process is started before it is needed."""
    settings = ports.settings
    # Extra children, so that steps that need samples again do not wait for files that are probed.
    decoder = Decoder(children=AT_ONCE["decode"] + AT_ONCE["inference"], turn_seconds=_TURN_SECONDS)
    return Steps(
        decoder=decoder,
        engine=Engine(settings),
        scratch=Scratch(
            settings.scratch_dir or _usual_scratch(settings),
            ports.store,
            ports.database,
            LocalCopies(ports.database, listen_dsn=settings.listen_database_url),
            leaving=decoder.forget,
        ),
    )


def _usual_scratch(settings: Settings) -> Path:
    """The default scratch folder: in the data folder if the worker uses one, else in the temporary folder."""
    if settings.uses_embedded_database or settings.uses_embedded_store:
        return settings.data_dir / "scratch"
    return Path(tempfile.gettempdir()) / f"lapel-{os.getuid()}-scratch"
