"""Reads what `lapel summarize` gets: an audio, or a transcript as JSON or as text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.cli.transcribe.batch import FileJob, FileProblem, transcribe_all
from lapel.cli.transcribe.transcribe import scratch
from lapel.foundation.text_cleaning import plain
from lapel.foundation.timed_warnings import TimedWarning
from lapel.slices.transcription.providers.protocol import Wish
from lapel.slices.transcription.service import Segment

if TYPE_CHECKING:
    from lapel.cli.transcribe.batch import Result

_MOST_BYTES = 64 * 1024 * 1024
# A line of a text that begins with a speaker, such as "SPEAKER_0: Good morning."
_SPEAKER = re.compile(r"\[?([^\s:\[\]][^:\[\]\n]{0,60})\]?:\s+(\S.*)", re.DOTALL)
_SECONDS_OF_A_LINE = 1.0


class ReadTranscript(msgspec.Struct, frozen=True):
    """The segments of a file; `has_times`: whether it says when; `warnings`: what it lacks."""

    segments: list[Segment]
    language: str | None
    has_times: bool
    warnings: list[TimedWarning] = msgspec.field(default_factory=list[TimedWarning])


class _TranscriptJson(msgspec.Struct, frozen=True):
    """A transcription of the API, an export as JSON, or a transcript of `lapel transcribe --json`."""

    segments: list[Segment]
    language: str | None = None
    warnings: list[TimedWarning] = msgspec.field(default_factory=list[TimedWarning])


class _ReportedFile(msgspec.Struct, frozen=True):
    transcript: _TranscriptJson | None = None
    warnings: list[TimedWarning] = msgspec.field(default_factory=list[TimedWarning])


class _BatchJson(msgspec.Struct, frozen=True):
    files: list[_ReportedFile]


def read_transcript(name: str) -> ReadTranscript:
    """The transcript in a file: `.json` and `.txt` are read, and every other file is transcribed.

    Raises CommandError when the file cannot be read or transcribed.
    """
    path = Path(name)
    if path.suffix.lower() not in {".json", ".txt", ".md"}:
        return _transcribed(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CommandError(f"{name}: a transcript may have at most {_MOST_BYTES // 1024**2} MiB.")
        content = path.read_bytes()
    except OSError as fault:
        raise CommandError(f"{name}: {fault.strerror}.") from fault
    if path.suffix.lower() == ".json":
        return _of_json(name, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise CommandError(f"{name}: no text. A transcript as text must be UTF-8.") from fault
    return ReadTranscript(_of_text(text), None, has_times=False)


def _of_json(name: str, content: bytes) -> ReadTranscript:
    for kind in (_TranscriptJson, _BatchJson):
        try:
            read = msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, RecursionError):
            continue
        if isinstance(read, _BatchJson):
            made = [
                msgspec.structs.replace(each.transcript, warnings=each.warnings)
                for each in read.files
                if each.transcript is not None
            ]
            if len(made) != 1:
                raise CommandError(f"{name}: it has {len(made)} transcripts, and one is needed.")
            read = made[0]
        return ReadTranscript(read.segments, read.language, has_times=True, warnings=read.warnings)
    raise CommandError(
        f"{name}: no transcript as JSON. It must have `segments`, as GET /v1/transcriptions/ID answers them."
    )


def _of_text(text: str) -> list[Segment]:
    segments: list[Segment] = []
    for number, line in enumerate(filter(None, (plain(each).strip() for each in text.splitlines()))):
        start = number * _SECONDS_OF_A_LINE
        found = _SPEAKER.fullmatch(line)
        segments.append(
            Segment(
                start=start,
                end=start + _SECONDS_OF_A_LINE,
                text=line if found is None else found[2],
                confidence=1.0,
                speaker=msgspec.UNSET if found is None else found[1].strip(),
            )
        )
    return segments


def _transcribed(path: Path) -> ReadTranscript:
    results: list[Result] = []
    with scratch() as folder:
        transcribe_all([FileJob(str(path), path)], Wish(), model=None, folder=folder, done=results.append)
    came = results[0].came
    if isinstance(came, FileProblem):
        raise CommandError(f"{path}: {came.message}")
    heard = came.transcript
    return ReadTranscript(heard.segments, heard.language, has_times=True, warnings=heard.warnings)
