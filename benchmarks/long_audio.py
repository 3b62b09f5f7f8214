"""How long one project waits for the facts of its audio while other projects keep the decoders busy.

Run `python -m benchmarks.long_audio`; `python -m benchmarks.neighbours` includes it. A `lapel serve`
as an operator starts it. Four projects each upload two files of 19 MB, which hold an hour and a half of 8
channels at 192 kHz: about the most work that one file may cause. A fifth project uploads short recordings
and asks for their waveforms until they are there.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.job_start import Client, served
from benchmarks.report import Row, show
from benchmarks.speech_audio import part_of_sample
from tests.transcription.audio.signals import silent_flac

HOSTILE_PROJECTS, FILES = 4, 2
UPLOADS = 20
_BLOCK, _RATE, _CHANNELS = 4_096, 192_000, 8
_BLOCKS = 250_000
_FILE_BYTES = 19_000_000
_PATIENCE = 600.0


def measure() -> list[Row]:
    """Seconds from the answer to upload-complete to the waveform, alone and beside the other projects."""
    folder = Path(tempfile.mkdtemp(prefix="lapel-bench-"))
    try:
        audio = part_of_sample(folder, seconds=20).read_bytes()
        with served(folder / "data") as client:
            return _measure(client, folder / "data", audio)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(client: Client, data: Path, audio: bytes) -> list[Row]:
    _wait(client, audio)  # the decoder has started
    alone = [_wait(client, audio) for _ in range(UPLOADS)]
    others = [_project(client.base_url, data, n) for n in range(HOSTILE_PROJECTS)]
    long = _long()
    hostile = [(other, other.send(long)) for _ in range(FILES) for other in others]
    for other in others:
        other.rest()
    time.sleep(3)
    beside = [_wait(client, audio) for _ in range(UPLOADS)]
    ended = sum(_known(other, recording) for other, recording in hostile)
    detail = (
        f"median {statistics.median(beside):.2f} s of {UPLOADS}; {ended} of {len(hostile)} others had ended"
    )
    return [
        Row("upload-complete to waveform, alone: most", max(alone), "s"),
        Row(
            f"… beside {len(hostile)} files of {HOSTILE_PROJECTS} projects: most",
            max(beside),
            "s",
            at_most=2,
            detail=detail,
        ),
    ]


def _wait(client: Client, audio: bytes) -> float:
    recording = client.send(audio)
    began = time.monotonic()
    while not _known(client, recording):
        if time.monotonic() > began + _PATIENCE:
            raise RuntimeError("the waveform does not come")
        time.sleep(0.02)
    return time.monotonic() - began


def _known(client: Client, recording: str) -> bool:
    try:
        client.ask("GET", f"/v1/recordings/{recording}/waveform?points=100")
    except RuntimeError as refused:  # 409 until the waveform is there
        if "answers 409" not in str(refused):
            raise
        return False
    return True


def _project(base_url: str, data: Path, number: int) -> Client:
    made = lapel(data, "projects", "create", f"Long files {number}")
    return Client(base_url, lapel(data, "keys", "create", "--project", made["id"])["key"])


def lapel(data: Path, *arguments: str) -> dict[str, str]:
    """The JSON that a command prints."""
    command = [sys.executable, "-m", "lapel.cli.main", *arguments, "--data-dir", str(data), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def _long() -> bytes:
    """A FLAC file of silence, with padding before it."""
    frame = 11 + 3 * _CHANNELS  # bytes
    return silent_flac(
        _BLOCKS, rate=_RATE, channels=_CHANNELS, block=_BLOCK, padding=_FILE_BYTES - _BLOCKS * frame
    )


if __name__ == "__main__":
    show(measure())
