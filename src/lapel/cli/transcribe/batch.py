"""The work of `lapel transcribe`: one file after the other, with the same child processes for all."""

from __future__ import annotations

import asyncio
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lapel.cli.shared.faults import CommandError
from lapel.foundation.text_cleaning import plain
from lapel.slices.transcription.audio.decoder import Decoder
from lapel.slices.transcription.models.process.engine_client import Engine
from lapel.slices.transcription.models.weights.whisper_weights import SETTING
from lapel.slices.transcription.providers.local import LocalTranscriber
from lapel.slices.transcription.speech.failures import SpeechError, TryAgain
from lapel.slices.transcription.work.offline import Outcome, Status, transcribe

if TYPE_CHECKING:
    from lapel.slices.transcription.providers.protocol import Wish

_STAGES = {"probe": "reading", "transcribe": "words", "diarize": "speakers", "finish": "done"}
# Bytes that must stay free where scratch files are: a /tmp in memory may be small.
SPARE_BYTES = 64 * 1024 * 1024
_NAME = 28  # characters of a file's name in the progress line
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class FileProblem(msgspec.Struct, frozen=True):
    """Why a file has no transcript. `code`: a code of the API, `unreadable` or `unwritable`."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class FileJob:
    """One input: its name on the command line, and the file to read."""

    name: str
    place: Path


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one input. `seconds`: duration of the work, without the loading of the model."""

    job: FileJob
    seconds: float
    came: Outcome | FileProblem


def transcribe_all(
    jobs: list[FileJob], wish: Wish, *, model: str | None, folder: Path, done: Callable[[Result], None]
) -> None:
    """Transcribes the jobs one after the other; calls `done` with each result as soon as it is there.

    `model`: a folder or a name, in place of the one in the settings. `folder`: for scratch files.
    Raises CommandError when no model is usable, and what `done` raises. At Ctrl-C, SIGTERM or SIGHUP, ends
    the child processes and raises SystemExit (128 plus the signal's number).
    """
    asyncio.run(_all(jobs, wish, model, folder, done))


class _Tools:
    """The child processes, shared by all files."""

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._is_ready = False
        self.decoder = Decoder(children=1, spare_bytes=SPARE_BYTES)
        self.engine = Engine()
        self.transcriber = LocalTranscriber(self.engine, model)

    async def prepare(self) -> None:
        """Load the model, after downloading it when needed. Raises CommandError when that fails."""
        if self._is_ready:
            return
        try:
            with _Live("the model", "loading") as live:
                await self.engine.prepare(self._model, live.download)
        except (SpeechError, TryAgain) as fault:
            message = fault.message
            if self._model is not None:  # the message names the setting
                message = message.replace(f"{SETTING}=", "--model ").replace(SETTING, "--model")
            raise CommandError(message) from fault
        self._is_ready = True

    async def close(self) -> None:
        """End the child processes."""
        await self.engine.aclose()
        await self.decoder.aclose()


async def _all(
    jobs: list[FileJob], wish: Wish, model: str | None, folder: Path, done: Callable[[Result], None]
) -> None:
    caught: list[int] = []
    _cancel_at_signals(caught)
    tools = _Tools(model)
    try:
        for number, job in enumerate(jobs, start=1):
            result = await _one(job, wish, tools, folder, f" {number}/{len(jobs)}" if len(jobs) > 1 else "")
            if caught:  # Ctrl-C reaches the children too; their end is then not a fault of the file
                break
            done(result)
    except (asyncio.CancelledError, CommandError):
        if not caught:
            raise
    finally:
        await tools.close()
    if caught:
        raise SystemExit(128 + caught[0])


def _cancel_at_signals(caught: list[int]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel(number: int) -> None:
        caught.append(number)
        if task is not None:
            task.cancel()

    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
            loop.add_signal_handler(number, cancel, number)


async def _one(job: FileJob, wish: Wish, tools: _Tools, folder: Path, place: str) -> Result:
    came: Outcome | FileProblem | None = _unreadable(job)
    if came is not None:
        return Result(job, 0.0, came)
    await tools.prepare()
    began = time.perf_counter()
    try:
        with _Live(_short(job.name) + place, _STAGES["probe"]) as live:
            came = await transcribe(
                job.place,
                wish,
                decoder=tools.decoder,
                transcriber=tools.transcriber,
                engine=tools.engine,
                folder=folder,
                report=live,
            )
    except (SpeechError, TryAgain) as fault:
        came = FileProblem(fault.code, fault.message)
    except OSError as fault:
        came = FileProblem("unreadable", f"{fault.strerror or fault}.")
    return Result(job, time.perf_counter() - began, came)


def _unreadable(job: FileJob) -> FileProblem | None:
    try:
        mode = job.place.stat().st_mode
        if stat.S_ISDIR(mode):
            return FileProblem("unreadable", "it is a folder; name the files in it.")
        if not stat.S_ISREG(mode):
            return FileProblem("unreadable", "it is not a regular file; pipe it into `lapel transcribe -`.")
        with job.place.open("rb"):
            return None
    except OSError as fault:
        return FileProblem("unreadable", f"{(fault.strerror or str(fault)).lower()}.")
    except ValueError:  # the name holds a NUL
        return FileProblem("unreadable", "a file cannot have this name.")


def _short(name: str) -> str:
    """A file's name, shortened to at most _NAME characters."""
    last = plain(Path(name).name) or "-"
    return last if len(last) <= _NAME else f"{last[: _NAME - 1]}…"


class _Live:
    """A progress line: stage, share, and speed relative to real time. It appears only on a terminal."""

    def __init__(self, title: str, stage: str) -> None:
        console = Console(stderr=True)
        self._began = time.perf_counter()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                TextColumn("{task.fields[stage]}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("{task.fields[speed]}", markup=False),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=1.0, stage=stage, speed="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def download(self, share: float) -> None:
        """Shows which `share` (0 to 1) of the model is downloaded."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, stage="downloading")

    def __call__(self, status: Status) -> None:
        if self._bar is None:
            return
        seconds = time.perf_counter() - self._began
        speed = ""
        if status.duration_ms is not None and status.stage != "probe":
            speed = f"{status.duration_ms / 1000 * status.progress / seconds:.1f}x real time"
        self._bar.update(self._task, completed=status.progress, stage=_STAGES[status.stage], speed=speed)
