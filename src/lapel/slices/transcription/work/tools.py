"""The tools of a worker process: the stages, on audio that is fetched from the store."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lapel.slices.erasure.service import LocalCopies
from lapel.slices.recordings.service import Audio
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.payloads import AT_ONCE
from lapel.slices.transcription.providers.local import LocalTranscriber
from lapel.slices.transcription.work.scratch import Scratch
from lapel.slices.transcription.work.stages import Stages

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lapel.foundation.ports import Ports
    from lapel.settings import Settings
    from lapel.slices.transcription.providers.protocol import Transcriber
    from lapel.slices.transcription.work.scratch_place import ScratchPlace

# Seconds for which a file is decoded before another file has its turn.
_TURN_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStages(Stages[Audio]):
    """The stages in a worker process. Audio is in a scratch folder on the disk while steps work on it."""

    engine: Engine
    scratch: Scratch

    def opened(self, audio: Audio) -> AbstractAsyncContextManager[ScratchPlace]:
        """The audio, fetched. Raises what `Scratch.audio` raises: Gone, StoreUnavailable, Unavailable,
        SpeechError, TryAgain, OSError."""
        return self.scratch.audio(audio)

    def local(self, model: str | None) -> Transcriber:
        """The local model as a provider."""
        return LocalTranscriber(self.engine, model)

    async def close(self) -> None:
        """End the child processes and remove the files."""
        await self.engine.aclose()
        await self.decoder.aclose()
        await self.scratch.close()


def worker_stages(ports: Ports) -> WorkerStages:
    """The tools of a worker process. Each child process starts when a step needs it."""
    settings = ports.settings
    # There are more decoders than the lane `decode` uses, so that other steps that need samples again do not
    # wait for files that are probed.
    decoder = Decoder(children=AT_ONCE["decode"] + AT_ONCE["inference"], turn_seconds=_TURN_SECONDS)
    return WorkerStages(
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
