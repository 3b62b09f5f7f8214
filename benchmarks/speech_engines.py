"""The transcribers that benchmarks of speech compare: Lapel's whole pipeline and faster-whisper alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lapel.settings import Settings
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.models.weights.whisper_weights import Weights, find
from lapel.slices.transcription.providers.local import LocalTranscriber
from lapel.slices.transcription.providers.protocol import Wish
from lapel.slices.transcription.work.offline import Outcome, transcribe

# Windows that faster-whisper decodes at once, by the name of the peer; Lapel decodes 4.
PEERS = {"faster-whisper alone": 1, "faster-whisper in batches of 4": 4}


class Lapel:
    """The whole pipeline: decode, words, speakers, one transcript; in child processes as in production."""

    def __init__(self, decoder: Decoder, engine: Engine, folder: Path) -> None:
        self._decoder = decoder
        self._engine = engine
        self._folder = folder

    @property
    def models(self) -> int:
        """The process with the models."""
        return self._engine.pid or 0

    @property
    def pids(self) -> list[int]:
        """All processes: this one, the decoder, the models."""
        return [os.getpid(), *self._decoder.pids, self.models]

    async def run(self, path: Path) -> tuple[float, Outcome]:
        """Seconds of one run, and its outcome. Raises RuntimeError if a part of the pipeline is left out."""
        began = time.perf_counter()
        outcome = await transcribe(
            path,
            Wish(),
            decoder=self._decoder,
            transcriber=LocalTranscriber(self._engine),
            engine=self._engine,
            folder=self._folder,
            report=lambda _: None,
        )
        if outcome.transcript.warnings:
            raise RuntimeError(f"not the whole pipeline: {outcome.transcript.warnings}")
        return time.perf_counter() - began, outcome


@asynccontextmanager
async def started_lapel(folder: Path) -> AsyncGenerator[Lapel]:
    """Lapel with the shipped weights. `folder`: for its scratch files."""
    decoder, engine = Decoder(children=1), Engine(Settings.from_env({}))
    try:
        yield Lapel(decoder, engine, folder)
    finally:
        await engine.aclose()
        await decoder.aclose()


@dataclass(frozen=True, slots=True)
class Told:
    """The answer of faster-whisper. `seconds`: by its own clock, without loading the model."""

    seconds: float
    text: str
    language: str


class Peer:
    """faster-whisper as its README shows it, in its own process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Id of the peer's process."""
        return self._process.pid

    def run(self, path: Path, size: int) -> Told:
        """Transcribe a file. `size`: windows that are decoded at once. Raises RuntimeError if it ended."""
        return Told(**json.loads(self._ask(f"{size} {path}")))

    def _ask(self, line: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the peer has no pipes")
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the peer has ended")
        return answer


@contextmanager
def started_peer(folder: Path) -> Generator[Peer]:
    """faster-whisper with the weights of Lapel. `folder`: for a copy of them, if they are in packages.

    Raises RuntimeError if no weights are installed.
    """
    weights = find("")
    if weights is None:
        raise RuntimeError("the weights of the speech models are not installed: make setup")
    model = _as_folder(weights, folder / "model")
    command = [sys.executable, "-m", "benchmarks.peers.plain_whisper", str(model)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield Peer(process)
        finally:
            process.kill()


def _as_folder(weights: Weights, folder: Path) -> Path:
    """The same weights, in the form that the peer reads."""
    if weights.folder is not None:
        return weights.folder
    folder.mkdir()
    for name, packaged in weights.packaged.items():
        (folder / name).write_bytes(packaged.read() or b"")
    return folder
