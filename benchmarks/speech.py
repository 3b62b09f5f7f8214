"""From a recording's file to its transcript with speakers, against faster-whisper alone on the same model.

Run `python -m benchmarks.speech`. Ours is the whole pipeline: decode, words, speakers, one transcript, in the
same child processes as in production. The peers are `WhisperModel.transcribe` and
`BatchedInferencePipeline.transcribe`, with as many windows at once as ours, beam 5, word times and VAD, in
their own process; they find no speakers. Models are loaded before anything is timed; all take turns.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import jiwer
import psutil

from benchmarks.report import Row, show
from benchmarks.speech_audio import Speech, joined, sample
from benchmarks.speech_engines import PEERS, Lapel, Peer, started_lapel, started_peer
from lapel.slices.transcription.speech.word_error import normalised

# Number of runs, by how many times a file repeats all the speech (2.6 minutes).
REPEATS = {2: 3, 4: 2}
_OF_SAMPLE = 3
# Our time over the peer's.
_GOALS = {"faster-whisper alone": 1.25, "faster-whisper in batches of 4": 1.1}


@dataclass(slots=True)
class _Runs:
    """Seconds of each run, by the clock and of CPU, and the text of the last run."""

    seconds: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    text: str = ""


@dataclass(slots=True)
class _Times:
    """Our runs, and the peers' runs that followed each of them."""

    ours: _Runs = field(default_factory=_Runs)
    peers: dict[str, _Runs] = field(default_factory=lambda: {name: _Runs() for name in PEERS})
    speakers: int = 0

    def ratio(self, peer: str) -> float:
        """Our time over the peer's, from runs that followed each other."""
        both = zip(self.ours.seconds, self.peers[peer].seconds, strict=True)
        return statistics.median(ours / theirs for ours, theirs in both)


def measure() -> list[Row]:
    """Time relative to the peer and to real time, word error of both, memory of the models' process."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    try:
        return asyncio.run(_measure(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(folder: Path) -> list[Row]:
    warm = sample()
    files = [(warm, _OF_SAMPLE)]
    for rounds, repeats in REPEATS.items():
        name = f"{rounds * 2.6:.0f} minutes"
        files.append((await asyncio.to_thread(joined, folder, name, rounds=rounds), repeats))
    rows: list[Row] = []
    with started_peer(folder) as peer:
        async with started_lapel(folder) as ours:
            await ours.run(warm.path)
            for size in PEERS.values():
                await asyncio.to_thread(peer.run, warm.path, size)
            for speech, repeats in files:
                rows += _rows(speech, await _in_turn(speech, repeats, ours, peer))
            rows.append(_memory("speech: process of the models", ours.models))
        rows.append(_memory("speech: process of faster-whisper alone", peer.pid))
    return rows


async def _in_turn(speech: Speech, repeats: int, ours: Lapel, peer: Peer) -> _Times:
    times = _Times()
    for _ in range(repeats):
        before = _cpu_seconds(ours.pids)
        seconds, outcome = await ours.run(speech.path)
        times.ours.seconds.append(seconds)
        times.ours.cpu.append(_cpu_seconds(ours.pids) - before)
        times.ours.text = outcome.transcript.full_text
        times.speakers = len({segment.speaker for segment in outcome.transcript.segments})
        for name, size in PEERS.items():
            runs = times.peers[name]
            before = _cpu_seconds([peer.pid])
            told = await asyncio.to_thread(peer.run, speech.path, size)
            runs.text = told.text
            runs.seconds.append(told.seconds)
            runs.cpu.append(_cpu_seconds([peer.pid]) - before)
    return times


def _cpu_seconds(pids: list[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def _rows(speech: Speech, times: _Times) -> list[Row]:
    ours = statistics.median(times.ours.seconds)
    rows = [
        Row(
            f"speech, {speech.name}: times real time",
            speech.seconds / ours,
            at_least=8,
            detail=f"{speech.seconds:.0f} s in {min(times.ours.seconds):.2f}-{max(times.ours.seconds):.2f} s",
        )
    ]
    for name in PEERS:
        rows += _beside(speech, times, name)
    return rows


def _beside(speech: Speech, times: _Times, name: str) -> list[Row]:
    """Our time and word error, compared with one peer's."""
    runs = times.peers[name]
    our, their = _word_error(speech, times.ours.text), _word_error(speech, runs.text)
    ours, peer = statistics.median(times.ours.seconds), statistics.median(runs.seconds)
    our_cpu, peer_cpu = statistics.median(times.ours.cpu), statistics.median(runs.cpu)
    return [
        Row(
            f"speech, {speech.name}: whole pipeline, of {name}",
            times.ratio(name),
            at_most=_GOALS[name],
            detail=f"{ours:.2f} s with {times.speakers} speakers and {peer:.2f} s without,"
            f" {len(runs.seconds)} times in turn; CPU {our_cpu:.1f} and {peer_cpu:.1f} s;"
            f" peer {speech.seconds / peer:.3g} times real time",
        ),
        Row(
            f"speech, {speech.name}: word error above that of {name}",
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


if __name__ == "__main__":
    show(measure())
