"""The parent's side of the speech models, which run in a child process.

docs/decisions/0014 says what the parent accepts from a child that reads hostile files.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec
import structlog

from lapel.foundation.workers.worker_child import Refusal
from lapel.foundation.workers.worker_process import SubworkerDied, SubworkerTimeout, WorkerProcess
from lapel.settings import Settings
from lapel.slices.transcription.models.weights.hub import cache_folder
from lapel.slices.transcription.models.weights.whisper_weights import named_folder
from lapel.slices.transcription.speech.at_audio import at_audio
from lapel.slices.transcription.speech.failures import Code, SpeechError, TryAgain
from lapel.slices.transcription.speech.messages import (
    NOT_HERE,
    Describe,
    Group,
    Groups,
    Heard,
    Listen,
    Prepare,
    Ready,
    Request,
    Voices,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Report = Callable[[float], None]

T = TypeVar("T", bound=msgspec.Struct)

# Time limit of a request: `_AT_LEAST` seconds, plus `_PER_SECOND` seconds for each second of audio. The model
# `base` needs a hundredth of `_PER_SECOND` on two cores, and large-v3 has twenty times as many weights. Work
# that takes longer is stuck.
_AT_LEAST = 120.0
_PER_SECOND = 10.0
# Seconds. A large model may have to be downloaded over a slow line.
_LOADING = 2 * 3600.0
# Seconds. Grouping three hours of speech takes only seconds.
_GROUPING = 600.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Engine:
    """One child process with the models. It starts with the first request and ends after an idle time.

    The child does one request at a time; further calls wait. `prepare`, `listen`, `describe` and `group`
    raise SpeechError when another try cannot help (no model, an unknown language). They raise TryAgain when
    the child died or took too long (the next call starts a new child), and after `aclose`. The last three
    also raise what `at_audio` raises.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """`settings`: None reads them from this process's environment."""
        settings = settings or Settings.load()
        self._setting = settings.whisper_model
        self._reads = list(_models(settings))
        self._worker = WorkerProcess(
            "lapel.slices.transcription.models.process.engine_child",
            settings.whisper_model,
            "" if settings.speaker_model is None else str(settings.speaker_model),
            str(settings.speech_threads),
            idle_seconds=settings.speech_idle_seconds,
            reads=self._reads,
        )
        # Process id of the child, and the model that it has loaded.
        self._prepared: tuple[int | None, str | None] = (None, None)
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Process id of the child while there is one."""
        return self._worker.pid

    async def prepare(self, model: str | None = None, report: Report | None = None) -> str:
        """Load the Whisper model and return its name. If the model is missing, download it first.

        `model`: a folder or a name; None for the setting. `report` is called with the progress of the
        download, 0 to 1. Raises SpeechError, TryAgain: see the class.
        """
        await self._reach(model)
        try:
            ready = await self._ask(Prepare(model=model), Ready, seconds=_LOADING)
        except _NotHere:
            await self._download(self._setting if model is None else model, _logged(report))
            await self._worker.renew()  # the child may have started before the folder of models existed
            ready = await self._ask(Prepare(model=model), Ready, seconds=_LOADING)
        self._prepared = (self._worker.pid, model)
        return ready.model

    async def listen(self, request: Listen, report: Report | None = None) -> Heard:
        """Transcribe a part of a PCM file. `report` is called with the progress, 0 to 1.

        Raises SpeechError, TryAgain: see the class.
        """
        if self._worker.pid is None or self._prepared != (self._worker.pid, request.model):
            await self.prepare(request.model)  # a separate request, because its time limit differs
        length = max(request.end_ms - request.start_ms, 0) / 1000
        async with at_audio():
            return await self._ask(request, Heard, seconds=_AT_LEAST + _PER_SECOND * length, report=report)

    async def describe(self, request: Describe) -> Voices:
        """Embed the voices in some stretches of a PCM file. Raises SpeechError, TryAgain: see the class."""
        length = sum(max(end - start, 0.0) for start, end in request.speech)
        async with at_audio():
            return await self._ask(request, Voices, seconds=_AT_LEAST + _PER_SECOND * length)

    async def group(self, request: Group) -> Groups:
        """Group the voices of a recording by person. Raises SpeechError, TryAgain: see the class."""
        async with at_audio():
            return await self._ask(request, Groups, seconds=_GROUPING)

    async def aclose(self) -> None:
        """End the child for good. A running call, and every later call, raises TryAgain."""
        self._closed = True
        await self._worker.close()

    async def _reach(self, model: str | None) -> None:
        """Give the child access to a model's folder, even if the child is running already."""
        folder = named_folder(model) if model else None
        if folder is not None and folder not in self._reads:
            self._reads.append(folder)
            await self._worker.renew(self._reads)

    async def _download(self, model: str, report: Report) -> None:
        """Download a model, in a process that has the network and sees no audio."""
        fetching = WorkerProcess("lapel.slices.transcription.models.weights.download", reads=None)
        try:
            await self._call(fetching, Prepare(model=model), Ready, seconds=_LOADING, report=report)
        finally:
            await fetching.close()

    async def _ask(
        self, request: Request, answer: type[T], *, seconds: float, report: Report | None = None
    ) -> T:
        if self._closed:
            raise TryAgain("processing_error", "The speech models have been put away: we are shutting down.")
        return await self._call(self._worker, request, answer, seconds=seconds, report=report)

    async def _call(
        self,
        worker: WorkerProcess,
        request: Request,
        answer: type[T],
        *,
        seconds: float,
        report: Report | None,
    ) -> T:
        try:
            return await worker.call(request, answer, seconds=seconds, report=report)
        except Refusal as refusal:
            if refusal.code == NOT_HERE:
                raise _NotHere from None
            raise SpeechError(cast("Code", refusal.code), refusal.message, remedy=refusal.remedy) from None
        except SubworkerTimeout as late:
            raise TryAgain("processing_error", f"The speech models were {late}.") from None
        except SubworkerDied as died:
            message = f"The process of the speech models ended in mid-work ({died})."
            raise TryAgain("processing_error", message) from None


class _NotHere(Exception):
    """The model has to be downloaded."""


def _models(settings: Settings) -> Iterator[Path]:
    """The paths that the child may read besides Python's packages, even if they do not exist yet."""
    if (folder := named_folder(settings.whisper_model)) is not None:
        yield folder
    if settings.speaker_model is not None:
        yield settings.speaker_model
    yield cache_folder(os.environ)


def _logged(report: Report | None) -> Report:
    """A function that calls `report`, and also logs the progress of a download, once for each tenth."""
    told = -1

    def tell(share: float) -> None:
        nonlocal told
        if int(share * 10) > told:
            told = int(share * 10)
            _log.info("speech.model_download", done=round(share, 2))
        if report is not None:
            report(share)

    return tell
