"""From a recording's file to its transcript with speakers, against faster-whisper alone on the same model.

Run `python -m benchmarks.speech`. Ours is the whole pipeline: decode, words, speakers, one transcript, in the
same child processes as in production. The peer is `WhisperModel.transcribe` with beam 5, word times and VAD,
in its own process; it finds no speakers. Models are loaded before anything is timed; the two take turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import jiwer
import psutil

from benchmarks.report import Row, show
from benchmarks.speech_audio import Speech, joined, sample
from lapel.settings import Settings
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.models.weights.whisper_weights import Weights, find
from lapel.slices.transcription.providers.local import LocalTranscriber
from lapel.slices.transcription.providers.protocol import Wish
from lapel.slices.transcription.speech.word_error import normalised
from lapel.slices.transcription.work.offline import Outcome, transcribe

# Number of runs, by how many times a file repeats all the speech (2.6 minutes).
REPEATS = {2: 3, 4: 2}
_OF_SAMPLE = 3


@dataclass(slots=True)
class _Times:
    """Seconds of each run, by the clock and of CPU, and the text of the last run."""

    ours: list[float] = field(default_factory=list[float])
    peer: list[float] = field(default_factory=list[float])
    our_cpu: list[float] = field(default_factory=list[float])
    peer_cpu: list[float] = field(default_factory=list[float])
    our_text: str = ""
    peer_text: str = ""
    speakers: int = 0

    @property
    def ratio(self) -> float:
        """Our time over the peer's, from runs that followed each other."""
        return statistics.median(ours / peer for ours, peer in zip(self.ours, self.peer, strict=True))


def measure() -> list[Row]:
    """Time relative to the peer and to real time, word error of both, memory of the models' process."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    try:
        return asyncio.run(_measure(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(folder: Path) -> list[Row]:
    weights = find("")
    if weights is None:
        raise RuntimeError("the weights of the speech models are not installed: make setup")
    warm = sample()
    files = [(warm, _OF_SAMPLE)]
    for rounds, repeats in REPEATS.items():
        name = f"{rounds * 2.6:.0f} minutes"
        files.append((await asyncio.to_thread(joined, folder, name, rounds=rounds), repeats))
    rows: list[Row] = []
    with _peer(_as_folder(weights, folder / "model")) as peer:
        async with _ours(folder) as ours:
            await ours.run(warm)
            await asyncio.to_thread(peer.run, warm)
            for speech, repeats in files:
                rows += _rows(speech, await _in_turn(speech, repeats, ours, peer))
            rows.append(_memory("speech: process of the models", ours.models))
        rows.append(_memory("speech: process of faster-whisper alone", peer.pid))
    return rows


async def _in_turn(speech: Speech, repeats: int, ours: _Ours, peer: _Peer) -> _Times:
    times = _Times()
    for _ in range(repeats):
        before = _cpu_seconds(ours.pids)
        seconds, outcome = await ours.run(speech)
        times.ours.append(seconds)
        times.our_cpu.append(_cpu_seconds(ours.pids) - before)
        times.our_text = outcome.transcript.full_text
        times.speakers = len({segment.speaker for segment in outcome.transcript.segments})
        before = _cpu_seconds([peer.pid])
        seconds, times.peer_text = await asyncio.to_thread(peer.run, speech)
        times.peer.append(seconds)
        times.peer_cpu.append(_cpu_seconds([peer.pid]) - before)
    return times


def _cpu_seconds(pids: list[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def _rows(speech: Speech, times: _Times) -> list[Row]:
    our, their = _word_error(speech, times.our_text), _word_error(speech, times.peer_text)
    ours, peer = statistics.median(times.ours), statistics.median(times.peer)
    our_cpu, peer_cpu = statistics.median(times.our_cpu), statistics.median(times.peer_cpu)
    return [
        Row(
            f"speech, {speech.name}: whole pipeline, of faster-whisper alone",
            times.ratio,
            at_most=1.25,
            detail=f"{ours:.2f} s with {times.speakers} speakers and {peer:.2f} s without,"
            f" {len(times.ours)} times in turn; CPU {our_cpu:.1f} and {peer_cpu:.1f} s",
        ),
        Row(
            f"speech, {speech.name}: times real time",
            speech.seconds / ours,
            at_least=8,
            detail=f"{speech.seconds:.0f} s in {min(times.ours):.2f}-{max(times.ours):.2f} s;"
            f" peer {speech.seconds / peer:.3g}",
        ),
        Row(
            f"speech, {speech.name}: word error above the peer's",
            (our - their) * 100,
            "points",
            at_most=0.2,
            detail=f"{our:.2%} and {their:.2%} of {len(normalised(speech.text))} words, by jiwer",
        ),
    ]


def _word_error(speech: Speech, heard: str) -> float:
    return jiwer.wer(" ".join(normalised(speech.text)), " ".join(normalised(heard)))


def _memory(name: str, pid: int) -> Row:
    """Peak memory of a process; its present memory where the system does not report the peak."""
    status = Path(f"/proc/{pid}/status")
    peak = psutil.Process(pid).memory_info().rss / 2**20
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        peak = int(lines["VmHWM"].split()[0]) / 1024
    return Row(f"{name}: most memory", peak, "MiB")


class _Ours:
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

    async def run(self, speech: Speech) -> tuple[float, Outcome]:
        """Seconds of one run, and its outcome."""
        began = time.perf_counter()
        outcome = await transcribe(
            speech.path,
            Wish(),
            decoder=self._decoder,
            transcriber=LocalTranscriber(self._engine),
            engine=self._engine,
            folder=self._folder,
            report=lambda _: None,
        )
        if outcome.warnings:
            raise RuntimeError(f"not the whole pipeline: {outcome.warnings}")
        return time.perf_counter() - began, outcome


@asynccontextmanager
async def _ours(folder: Path) -> AsyncGenerator[_Ours]:
    decoder, engine = Decoder(children=1), Engine(Settings.from_env({}))
    try:
        yield _Ours(decoder, engine, folder)
    finally:
        await engine.aclose()
        await decoder.aclose()


class _Peer:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Id of the peer's process."""
        return self._process.pid

    def run(self, speech: Speech) -> tuple[float, str]:
        """Seconds by the peer's own clock, and the text."""
        told = json.loads(self._ask(str(speech.path)))
        return told["seconds"], told["text"]

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
def _peer(model: Path) -> Generator[_Peer]:
    command = [sys.executable, "-m", "benchmarks.peers.plain_whisper", str(model)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield _Peer(process)
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


if __name__ == "__main__":
    show(measure())
