"""The process that holds the speech models.

Started as `python -m lapel.slices.transcription.models.process.engine_child`.

A WorkerProcess starts this process and passes the settings as arguments: the Whisper model, the weights of
the speaker model (empty: the installed weights) and the number of threads (0: as many as there are cores).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, assert_never

import numpy as np

from lapel.foundation.workers.cores import cores
from lapel.foundation.workers.worker_child import Refusal, answer_requests, open_file
from lapel.slices.transcription.models.weights.whisper_weights import NotHere
from lapel.slices.transcription.speech.failures import SpeechError
from lapel.slices.transcription.speech.messages import (
    NOT_HERE,
    SAMPLE_RATE,
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
    from numpy.typing import NDArray

    from lapel.slices.transcription.models.whisper.recognizer import Whisper

Report: TypeAlias = Callable[[float], None]
Answer: TypeAlias = Ready | Heard | Voices | Groups


class _Models:
    """The models. Each model is loaded for the first request that needs it. At most one Whisper model is in
    memory at a time."""

    def __init__(self, whisper: str, speakers: Path | None, threads: int) -> None:
        self._setting = whisper
        self._speakers = speakers
        self._threads = threads
        self._whisper: Whisper | None = None

    def answer(self, request: Request, report: Report) -> Answer:
        try:
            return self._answer(request, report)
        except SpeechError as fault:
            raise Refusal(fault.code, fault.fault, fault.remedy) from fault
        except NotHere as absent:
            raise Refusal(NOT_HERE, str(absent)) from absent

    def _answer(self, request: Request, report: Report) -> Answer:
        # Imported on demand: a child that only groups voices loads no library of a model.
        match request:
            case Prepare():
                return Ready(model=self._model(request.model).load())
            case Listen():
                return self._listen(request, report)
            case Describe():
                from lapel.slices.transcription.models.speakers.diarization import describe  # noqa: PLC0415

                return describe(request.pcm, request.speech, weights=self._speakers, threads=self._threads)
            case Group():
                from lapel.slices.transcription.models.speakers.diarization import group  # noqa: PLC0415

                return group(request)
            case _:
                assert_never(request)

    def _listen(self, request: Listen, report: Report) -> Heard:
        samples = _samples(request.pcm, request.start_ms, request.end_ms)
        return self._model(request.model).listen(
            samples,
            offset=request.start_ms / 1000,
            language=request.language,
            languages=request.languages,
            likely=request.likely,
            report=report,
        )

    def _model(self, setting: str | None) -> Whisper:
        wanted = self._setting if setting is None else setting
        if self._whisper is None or self._whisper.setting != wanted:
            from lapel.slices.transcription.models.whisper.recognizer import Whisper  # noqa: PLC0415

            self._whisper = None  # free the old model before the new one is loaded
            self._whisper = Whisper(wanted, threads=self._threads)
        return self._whisper


def _samples(pcm: str, start_ms: int, end_ms: int) -> NDArray[np.float32]:
    """A part of a PCM file: 1-D float32, 16 kHz, mono, -1 to 1. Times after the file's end are left out."""
    with open_file(pcm) as file:
        count = os.fstat(file.fileno()).st_size // 2
        first, last = (max(0, min(ms * SAMPLE_RATE // 1000, count)) for ms in (start_ms, end_ms))
        if last <= first:
            return np.zeros(0, np.float32)
        mapped = np.memmap(file, "<i2", "r", offset=first * 2, shape=(last - first,))
        return mapped.astype(np.float32) / np.float32(32768)


def main(arguments: list[str]) -> None:
    """Answer requests until the parent is gone. `arguments`: the command line, set by WorkerProcess."""
    whisper, speakers, threads = arguments[1:4]
    models = _Models(whisper, Path(speakers) if speakers else None, int(threads) or cores())
    answer_requests(Request, models.answer, arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
