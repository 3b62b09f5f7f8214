"""Speaker diarization: errors on two conversations with known truth, time and memory.

Run `python -m benchmarks.speakers`. tests/fixtures/speech describes the conversations. Errors are counted in
steps of 10 ms without a collar. Diarization is responsible only for wrong speakers; missed speech and false
alarms come from the speech detector and from Whisper's times.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.report import Row, show
from lapel.slices.transcription.models.speakers.diarization import describe, group
from lapel.slices.transcription.models.whisper.recognizer import Whisper
from lapel.slices.transcription.speech.assign import with_speakers
from lapel.slices.transcription.speech.messages import Group, Groups, Span
from tests.support.conversations import Conversation
from tests.support.diarization import Errors, Turn, errors
from tests.support.samples import RATE

CONVERSATIONS: tuple[Literal["two-speakers", "three-speakers"], ...] = ("two-speakers", "three-speakers")
THREADS = 2
PIECE = 600  # seconds
# Runs in its own process: an hour is described piece by piece, and grouped three times.
LONG = f"""
import resource, sys
from pathlib import Path
from lapel.slices.transcription.speech.messages import Group, Voices
from lapel.slices.transcription.models.speakers.diarization import describe, group
def peak():
    if sys.platform == "linux":  # what getrusage says there includes the process that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first, voices = 0, []
for start in range(0, 3600, {PIECE}):
    spans = [(float(at), at + 9.5) for at in range(start, start + {PIECE}, 10)]
    voices.append(describe(Path(sys.argv[1]), spans, threads={THREADS}))
    first = first or peak()
for hour in (1, 2):
    voices += [
        Voices(
            windows=[(start + 3600 * hour, end + 3600 * hour) for start, end in each.windows],
            embeddings=each.embeddings,
        )
        for each in voices[:6]
    ]
found = group(Group(voices=voices))
print(first, peak(), len(found.windows))
"""


@dataclass(frozen=True)
class Outcome:
    """Errors: `by_voice` of windows alone, `told` of the transcript's segments. `seconds`: work on voices."""

    by_voice: Errors
    told: Errors
    words: int
    speakers: int
    seconds: float


def _turns(groups: Groups, speech: list[Span]) -> list[Turn]:
    """Turns: each moment of speech belongs to the window with the nearest centre."""
    pairs = sorted(zip(groups.windows, groups.labels, strict=True), key=lambda pair: sum(pair[0]))
    limits = [
        (sum(left) + sum(right)) / 4 if right[0] < left[1] else (left[1] + right[0]) / 2
        for (left, _), (right, _) in itertools.pairwise(pairs)
    ]
    edges = [0.0, *limits, float("inf")]
    return [
        (max(start, edges[index]), min(end, edges[index + 1]), str(label))
        for start, end in speech
        for index, (_, label) in enumerate(pairs)
        if edges[index] < end and edges[index + 1] > start
    ]


def _outcome(conversation: Conversation, pcm: Path, whisper: Whisper) -> Outcome:
    samples = conversation.samples().astype(np.float32) / np.float32(32768)
    heard = whisper.listen(samples, offset=0, language="en", report=lambda _: None)
    start = time.perf_counter()
    found = group(Group(voices=[describe(pcm, heard.speech, threads=THREADS)]))
    seconds = time.perf_counter() - start
    segments = with_speakers(heard.segments, found)
    truth = [(*span, turn.speaker) for turn in conversation.turns for span in turn.speech]
    return Outcome(
        by_voice=errors(truth, _turns(found, heard.speech)),
        told=errors(truth, [(each.start, each.end, str(each.speaker)) for each in segments]),
        words=sum(len(each.words or ()) for each in segments),
        speakers=len({each.speaker for each in segments}),
        seconds=seconds,
    )


def _long(folder: Path) -> Row:
    """How much more memory a process takes for hours than for the first ten minutes."""
    talk = np.concatenate([Conversation(name).samples() for name in CONVERSATIONS])
    pcm = folder / "hour.pcm"
    pcm.write_bytes(np.resize(talk, 3600 * RATE).astype("<i2").tobytes())
    command = [sys.executable, "-c", LONG, str(pcm)]
    start = time.perf_counter()
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - start
    first, last, windows = (int(each) for each in told.split())
    return Row(
        "three hours: memory beyond that of the first ten minutes",
        (last - first) / 2**20,
        "MiB",
        at_most=100,
        detail=f"{last / 2**20:.0f} MiB at most, {windows} windows; an hour described and three grouped: "
        f"{seconds:.0f} s",
    )


def measure() -> list[Row]:
    """Wrong speakers in percent, number of speakers found, time, and memory for hours of audio."""
    rows: list[Row] = []
    whisper = Whisper("", threads=THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = duration = 0.0
        for each in CONVERSATIONS:
            conversation = Conversation(each)
            pcm = conversation.pcm(folder)
            describe(pcm, [(0.0, 3.0)], threads=THREADS)  # loads the model
            outcome = _outcome(conversation, pcm, whisper)
            seconds += outcome.seconds
            duration += conversation.duration_ms / 1000
            there = len(conversation.speakers)
            rows += [
                Row(
                    f"{each}: speech with the wrong speaker",
                    100 * outcome.told.confused,
                    "%",
                    at_most=2,
                    detail=f"of {outcome.words} words in a transcript; {_percent(outcome.told)}. "
                    f"Voices alone: {_percent(outcome.by_voice)}",
                ),
                Row(
                    f"{each}: speakers too many or too few",
                    abs(outcome.speakers - there),
                    "",
                    at_most=0,
                    detail=f"{outcome.speakers} found of {there}; their number was not told",
                ),
            ]
        rows.append(
            Row(
                "speakers: time it takes, of the recording's",
                100 * seconds / duration,
                "%",
                detail=f"{seconds:.2f} s for {duration:.0f} s, {THREADS} threads, model loaded",
            )
        )
        return [*rows, _long(folder)]


def _percent(found: Errors) -> str:
    return (
        f"DER {100 * found.rate:.1f} % (wrong {100 * found.confused:.1f}, missed {100 * found.missed:.1f}, "
        f"false alarm {100 * found.false_alarm:.1f})"
    )


if __name__ == "__main__":
    show(measure())
