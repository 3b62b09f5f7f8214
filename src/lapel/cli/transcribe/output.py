"""The output of `lapel transcribe`: transcripts, one line for each problem, and the JSON report."""

from __future__ import annotations

import secrets
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import msgspec
from rich.console import Console
from rich.text import Text

from lapel.cli.shared.options import put, say
from lapel.cli.transcribe.batch import FileProblem, Result
from lapel.foundation.text_cleaning import plain
from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.exports.content import Document
from lapel.slices.transcription.speech.transcript import Segment
from lapel.slices.transcription.work.offline import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from lapel.slices.transcription.exports.formats import Format

STDIN: Final = "-"
# Formats in which a line with the file's name separates several transcripts on standard output.
SEPARATED: Final = frozenset({"txt", "md", "srt", "vtt", "csv"})
# The last sentence of messages for API clients. This command removes it, because it uploads nothing.
_BLANK = "\n"
_UPLOAD = " Upload the recording again."


class AudioSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of the decoded audio. The file's name does not matter."""

    duration_ms: int
    channels: int
    sample_rate: int
    codec: str
    container: str
    mime_type: str


class PrintedTranscript(msgspec.Struct, frozen=True, kw_only=True):
    """The transcript, with fields as in the API. `language_probability`: of the detected language, 0 to 1."""

    language: str | None
    language_probability: float | None
    model: str
    duration_ms: int
    full_text: str
    word_count: int
    confidence: float | None
    segments: list[Segment]


class TranscriptDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The report on one file.

    `file` and `seconds` are always set. With `error`, the fields of the result keep their defaults. Without
    `error` these fields are set, but `output` is null if no file was written.

    `seconds`: duration of the work after the Whisper model was loaded. `real_time_factor`: seconds of audio
    transcribed in one second of work. `output`: the file that was written.
    """

    file: str
    seconds: float
    real_time_factor: float | None = None
    transcript: PrintedTranscript | None = None
    audio: AudioSummary | None = None
    warnings: list[TimedWarning] = msgspec.field(default_factory=list[TimedWarning])
    output: str | None = None
    error: FileProblem | None = None


class BatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints: every file, in the order of the command line."""

    files: list[TranscriptDocument]


class Writer:
    """Writes each result to its target as soon as it is there.

    `targets`: one for each result, in order; None is standard output. With `as_json`, no transcript goes to
    standard output; `told` then collects what `--json` prints.
    """

    def __init__(self, chosen: Format, targets: list[Path | None], *, as_json: bool) -> None:
        self._chosen = chosen
        self._targets = targets
        self._as_json = as_json
        self._done = 0
        self._printed = 0
        self._warned: set[str] = set()
        self.told: list[TranscriptDocument] = []
        self.failed = False

    def take(self, result: Result) -> None:
        """Writes the next result. Raises CommandError when standard output cannot be written.

        If a target file cannot be written, the result becomes a FileProblem.
        """
        target = self._targets[self._done]
        self._done += 1
        name = shown(result.job.name)
        came = result.came
        if isinstance(came, Outcome):
            came = self._written(came, name, target)
        if isinstance(came, FileProblem):
            self.failed = True
            came = FileProblem(came.code, came.message.removesuffix(_UPLOAD))
            say(f"{name}: {came.message}")
        else:
            for warning in came.transcript.warnings:
                # A warning about a place is about this file, and any other one about this machine.
                about = "" if warning.start_ms is None else f"{name}: "
                self._warn(f"{about}{warning.message}")
            _summarise(came, result.seconds, name, target)
        if self._as_json:
            self.told.append(_told(result, came, target))

    def _written(self, outcome: Outcome, name: str, target: Path | None) -> Outcome | FileProblem:
        if target is None and self._as_json:
            return outcome
        content = self._chosen.render(Document.of(outcome.transcript, PurePath(name).name))
        if target is not None:
            return _replace(target, content) or outcome
        if len(self._targets) > 1 and self._chosen.name in SEPARATED:
            put(f"{_BLANK if self._printed else ''}==> {name} <==\n".encode())
        put(content)
        self._printed += 1
        return outcome

    def _warn(self, warning: str) -> None:
        if warning not in self._warned:
            self._warned.add(warning)
            say(warning)


def _summarise(outcome: Outcome, seconds: float, name: str, target: Path | None) -> None:
    """Prints speed and target of a transcript if stderr is a terminal."""
    console = Console(stderr=True)
    if console.is_terminal:
        length = outcome.facts.duration_ms / 1000
        where = f" -> {shown(str(target))}" if target is not None else ""
        speed = f"{length:.0f} s in {seconds:.1f} s, {length / seconds:.1f}x real time"
        console.print(Text(f"{name}{where}: {speed}", style="dim"), soft_wrap=True)


def shown(name: str) -> str:
    """A file's name, safe to print on a terminal."""
    return "standard input" if name == STDIN else plain(name) or ascii(name)


def _replace(target: Path, content: bytes) -> FileProblem | None:
    """Replaces the target atomically. Returns the problem if that fails.

    If the target is not a regular file (such as /dev/stdout), the content is written to it instead.
    """
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return None
        target = target.resolve()  # a symbolic link stays a link
        part = target.with_name(f".lapel-{secrets.token_hex(6)}")
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as fault:
        return FileProblem("unwritable", f"{shown(str(target))} could not be written: {fault.strerror}.")
    return None


def _told(result: Result, came: Outcome | FileProblem, target: Path | None) -> TranscriptDocument:
    name, seconds = result.job.name, round(result.seconds, 3)
    if isinstance(came, FileProblem):
        return TranscriptDocument(file=name, seconds=seconds, error=came)
    facts, made = came.facts, came.transcript
    return TranscriptDocument(
        file=name,
        seconds=seconds,
        real_time_factor=round(facts.duration_ms / 1000 / result.seconds, 2),
        transcript=PrintedTranscript(
            language=made.language,
            language_probability=made.language_probability,
            model=made.model,
            duration_ms=made.duration_ms,
            full_text=made.full_text,
            word_count=made.word_count,
            confidence=made.confidence,
            segments=made.segments,
        ),
        audio=AudioSummary(
            duration_ms=facts.duration_ms,
            channels=facts.channels,
            sample_rate=facts.sample_rate,
            codec=facts.codec,
            container=facts.container,
            mime_type=facts.mime_type,
        ),
        warnings=made.warnings,
        output=None if target is None else str(target),
    )
