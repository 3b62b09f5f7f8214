"""The flags that commands share, and how they print."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from cyclopts import Parameter
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from lapel.cli.shared.faults import CommandError
from lapel.process_environment import unknown_variables_here
from lapel.settings import docs

_DATA_DIR = docs()["data_dir"].text.replace("Default: ", "Default: $LAPEL_DATA_DIR, else ")
DataDir: TypeAlias = Annotated[Path | None, Parameter(help=_DATA_DIR)]
_UNLIMITED = 1 << 20  # columns
Json: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document.")]


class ReaderGone(Exception):
    """The program that reads standard output has ended, such as `head -1`. The command ends quietly."""


def say(sentence: str) -> None:
    """Prints a sentence for people to stderr, so that the sentence never mixes with the result on stdout.

    No effect when stderr cannot be written (a full disk, a pipe without a reader): the work goes on.
    """
    with contextlib.suppress(OSError):
        sys.stderr.write(f"lapel: {sentence}\n")
        sys.stderr.flush()


def warn_of_unknown_variables() -> None:
    """Says which LAPEL_* variables are no settings, and which setting each one may mean."""
    for name, meant in unknown_variables_here().items():
        hint = f"did you mean {meant}?" if meant else "see docs/settings.md."
        say(f"{name} is set, but Lapel has no such setting; {hint}")


def emit(value: object, as_json: bool, shown: Callable[[], RenderableType]) -> None:
    """Prints the result: as one JSON document, or else what `shown` returns for people.

    Rich builds the whole table in memory before it prints, so a table should have at most a few thousand
    rows.
    Raises CommandError when the result cannot be written (a full disk, a closed stdout), and ReaderGone when
    stdout is a pipe without a reader.
    """
    text = msgspec.json.encode(value).decode() if as_json else _text(shown())
    with _read_by_somebody():
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()


def put(data: bytes) -> None:
    """Writes bytes to standard output unchanged. Raises CommandError and ReaderGone as `emit` does."""
    with _read_by_somebody():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _read_by_somebody() -> Generator[None]:
    if sys.stdout is None:  # the caller has closed it, as `>&-` does
        raise CommandError("the result could not be written: standard output is closed.")
    try:
        yield
    except OSError as fault:
        raise unwritten(fault) from fault


def unwritten(fault: OSError) -> ReaderGone | CommandError:
    """What to raise when stdout cannot be written (a full disk, a pipe without a reader)."""
    # The text is still in the buffer: at exit Python would write it again, fail, and set its own status.
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    if isinstance(fault, BrokenPipeError):
        return ReaderGone()
    return CommandError(f"the result could not be written: {fault.strerror}.")


def moment(flag: str, text: str, examples: str) -> datetime:
    """The point in time that the value of a flag names, in UTC. `examples`: how to write one.

    Raises CommandError when the text is no time, has no time zone, or is outside the years 1 to 9999 in UTC.
    """
    try:
        named_time = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{flag} {text!r} is not a time; write it as {examples}.") from None
    if named_time.tzinfo is None:
        raise CommandError(f"{flag} {text!r} has no time zone; add Z for UTC, or an offset such as +01:00.")
    try:
        return named_time.astimezone(UTC)
    except OverflowError:
        raise CommandError(f"{flag} {text!r} is not within the years 1 to 9999 in UTC.") from None


def is_piped() -> bool:
    """Whether stdout is not a terminal: a pipe, a file, or closed."""
    return sys.stdout is None or not sys.stdout.isatty()


def visible(text: str) -> str:
    """The text with unprintable characters escaped, because a client's name could contain control codes."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def counted(number: int, noun: str) -> str:
    """A number of things, with an s for the plural: 1 erasure, 2,000 erasures."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    """A table. Each column is as wide as its widest cell, and each row is one line."""
    made = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        made.add_row(*(visible(cell) for cell in row))
    return made


def named(lines: list[tuple[str, str]]) -> Table:
    """One line for each pair of name and value; the values begin in the same column."""
    made = Table.grid(padding=(0, 1))
    made.add_column(min_width=12)
    for name, value in lines:
        made.add_row(Text(name, "bold"), value)
    return made


def _text(shown: RenderableType) -> str:
    """The text of `shown`. It has colours and bold letters if stdout is a terminal and NO_COLOR is not set.

    A string is not changed, because Rich would drop its control characters and expand its tabs. No value is
    wrapped or cut at the width of the terminal, because people and programs copy values.
    """
    if isinstance(shown, str):
        return shown
    text = io.StringIO()
    Console(
        file=text,
        force_terminal=not is_piped(),
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=_UNLIMITED,
        markup=False,
        emoji=False,
        highlight=False,
    ).print(shown)
    return "\n".join(line.rstrip(" ") for line in text.getvalue().split("\n"))
