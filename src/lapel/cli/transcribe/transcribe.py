"""`lapel transcribe`: makes transcripts of audio files, without a server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.options import Json, emit, is_piped, say
from lapel.cli.transcribe.batch import SPARE_BYTES, FileJob, transcribe_all
from lapel.cli.transcribe.output import SEPARATED, STDIN, BatchReport, Writer
from lapel.foundation import telemetry
from lapel.foundation.workers.private_folder import PrivateFolder, private_file
from lapel.slices.transcription.exports.formats import FORMATS, Format, FormatName
from lapel.slices.transcription.models.whisper.languages import LANGUAGES, primary
from lapel.slices.transcription.providers.protocol import Wish

_CHUNK = 4 * 1024 * 1024
# Formats that may put several documents on standard output: with a line between them, or one after another.
_IN_A_ROW = SEPARATED | {"json", "ndjson"}


def transcribe(
    files: Annotated[
        list[str],
        Parameter(allow_leading_hyphen=True, help="Audio or video files; `-` is standard input."),
    ],
    /,
    *,
    form: Annotated[
        FormatName | None,
        Parameter(name="--format", help="Default: the file extension of --output, else txt."),
    ] = None,
    output: Annotated[
        str | None,
        Parameter(help="File to write; with several inputs, a folder. Default: standard output."),
    ] = None,
    language: Annotated[
        str | None,
        Parameter(
            help="Language that is spoken, such as `en`; of several, such as `de,es`, it is detected. "
            "Default: detected among all."
        ),
    ] = None,
    speakers: Annotated[int | None, Parameter(help="Number of people who speak. Default: detected.")] = None,
    diarization: Annotated[
        bool,
        Parameter(negative="--no-diarization", help="Find out which speaker said what.", show_default=False),
    ] = True,
    model: Annotated[
        str | None,
        Parameter(help="A Whisper model: a folder (CTranslate2), or a name such as `small`."),
    ] = None,
    json: Json = False,
) -> None:
    """Turn audio files into transcripts. Needs no server, no data folder and no account.

    The transcript goes to standard output, progress to the terminal. If a file cannot be transcribed, one
    line says so, the other files are still transcribed, and the status is 1.

    For example:

        lapel transcribe talk.m4a
        lapel transcribe talk.m4a --output talk.srt
        lapel transcribe *.opus --format md --output transcripts/ --speakers 2
        lapel transcribe call.wav --language de --no-diarization --json
        lapel transcribe visit.opus --language de,es
        arecord -d 60 | lapel transcribe -
    """
    _check_names(files)
    known = _languages(language)
    only = known[0] if len(known) == 1 else None
    wish = Wish(language=only, languages=known, diarization=diarization, num_speakers=speakers)
    _check_speakers(speakers, diarization=diarization)
    chosen = _format(form, output, len(files))
    targets = _targets(files, output, chosen)
    if output is None and not json:
        _check_stdout(chosen, len(files))
    report = Writer(chosen, targets, as_json=json)
    telemetry.configure("error", "auto", "transcribe")
    with scratch() as folder:
        jobs = [FileJob(name, _stdin(folder) if name == STDIN else Path(name)) for name in files]
        transcribe_all(jobs, wish, model=model, folder=folder, done=report.take)
    if json:
        emit(BatchReport(files=report.told), True, str)
    if report.failed:
        raise SystemExit(1)


def _check_names(files: list[str]) -> None:
    """Ends with status 2 for a misspelt option.

    The parser must accept `-` as a file, and therefore accepts every argument that begins with `-`.
    """
    for name in files:
        if name.startswith("-") and name != STDIN and not Path(name).exists():
            say(f"{name}: neither an option nor a file; see `lapel transcribe --help`.")
            raise SystemExit(2)
    if files.count(STDIN) > 1:
        raise CommandError("standard input (-) can be read only once.")


def _languages(given: str | None) -> tuple[str, ...]:
    """The languages that are named, separated by commas; none: all may be spoken."""
    codes = () if given is None else tuple(primary(each) for each in given.split(","))
    if not LANGUAGES.issuperset(codes):
        raise CommandError(
            f"--language {given}: not a language that Whisper knows; give a code such as en, de or ja, or "
            "several such as de,es."
        )
    return codes


def _check_speakers(speakers: int | None, *, diarization: bool) -> None:
    if speakers is None:
        return
    if not diarization:
        raise CommandError("--speakers and --no-diarization exclude each other; leave one out.")
    if not 1 <= speakers <= 32:
        raise CommandError(f"--speakers {speakers}: give a number from 1 to 32.")


def _format(form: FormatName | None, output: str | None, count: int) -> Format:
    """The format that --format names, else the one of the extension of --output, else txt.

    Raises CommandError when the extension is unknown, when it differs from --format, or when --output names
    one file for several inputs.
    """
    is_folder = output is None or output.endswith(os.sep) or Path(output).is_dir()
    ending = "" if output is None or is_folder else Path(output).suffix[1:].lower()
    named: FormatName | None = next((name for name in FORMATS if name == ending), None)
    if count > 1 and named:
        raise CommandError(
            f"--output {output}: several inputs need a folder; a folder's name ends in {os.sep}."
        )
    if count == 1 and ending and not named and form is None:
        raise CommandError(
            f"--output {output}: there is no format {ending}; the formats are: {', '.join(FORMATS)}."
        )
    if form and named and form != named:
        raise CommandError(f"--output {output} does not fit --format {form}; leave one of them out.")
    return FORMATS[form or named or "txt"]


def _targets(files: list[str], output: str | None, chosen: Format) -> list[Path | None]:
    """The target of each file's transcript, None for standard output. Makes the folder of the targets.

    Raises CommandError when a target is an input, two targets have one name, or the folder cannot be written.
    """
    if output is None:
        return [None for _ in files]
    place = Path(output)
    is_folder = len(files) > 1 or place.is_dir() or output.endswith(os.sep)
    targets = _in_folder(files, place, chosen.extension) if is_folder else [place]
    taken = {path.resolve() for path in map(Path, files) if path.exists()}
    for target in targets:
        if target.resolve() in taken:
            raise CommandError(f"{target} is one of the inputs; name another output.")
    folder = place if is_folder else place.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise CommandError(f"--output {output}: {fault.strerror}.") from fault
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"--output {output}: it cannot be written.")
    return [*targets]


def _in_folder(files: list[str], folder: Path, extension: str) -> list[Path]:
    names = ["stdin" if name == STDIN else Path(name).name for name in files]
    stems = [Path(name).stem for name in names]
    if not _differ(stems):
        stems = names  # as for talk.wav and talk.mp3
    if not _differ(stems):
        raise CommandError(
            "two inputs have the same file name; transcribe them one by one, each with its own --output."
        )
    return [folder / f"{stem}.{extension}" for stem in stems]


def _differ(names: list[str]) -> bool:
    """Whether all names differ, even on a file system on which `A` and `a` are the same name."""
    return len({name.casefold() for name in names}) == len(names)


def _check_stdout(chosen: Format, count: int) -> None:
    if chosen.name == "docx" and not is_piped():
        raise CommandError("docx is binary; name a file with --output, or redirect with `>`.")
    if count > 1 and chosen.name not in _IN_A_ROW:
        raise CommandError(f"several {chosen.name} documents need a folder; name the folder with --output.")


@contextlib.contextmanager
def scratch() -> Generator[Path]:
    """A scratch folder, removed at the end. The next command removes the folder of a killed command.

    Raises CommandError when scratch files cannot be written.
    """
    signal.signal(signal.SIGTERM, _leave)
    try:
        try:
            own = PrivateFolder(Path(tempfile.gettempdir()) / f"lapel-transcribe-{os.getuid()}")
        except PermissionError:  # another user has made a folder of that name
            own = PrivateFolder(Path(tempfile.mkdtemp(prefix="lapel-transcribe-")))
    except OSError as fault:
        raise CommandError(
            f"scratch files cannot be written: {fault.strerror}; set TMPDIR to another folder."
        ) from fault
    own.forget_left()
    try:
        yield own.path
    finally:
        own.close()


def _leave(signum: int, frame: object) -> None:
    del frame
    raise SystemExit(128 + signum)


def _stdin(folder: Path) -> Path:
    """Copies standard input to a file.

    Raises CommandError when standard input is closed or a terminal, or cannot be stored.
    """
    if sys.stdin is None or sys.stdin.isatty():
        found = "closed" if sys.stdin is None else "the terminal"
        raise CommandError(f"standard input is {found}; name a file, or redirect audio with `|` or `<`.")
    path = folder / "stdin"
    try:
        with private_file(path) as file:
            while chunk := sys.stdin.buffer.read(_CHUNK):
                file.write(chunk)
                if shutil.disk_usage(folder).free < SPARE_BYTES:
                    raise CommandError(
                        "standard input fills the disk; set TMPDIR to a folder on another disk."
                    )
    except OSError as fault:
        raise CommandError(f"standard input could not be stored in {folder}: {fault.strerror}.") from fault
    return path
