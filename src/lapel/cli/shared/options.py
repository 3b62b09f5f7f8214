"""The flags that commands share, and how they print."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.settings import docs

_DATA_DIR = docs()["data_dir"].text.replace("Default: ", "Default: $LAPEL_DATA_DIR, else ")
DataDir: TypeAlias = Annotated[Path | None, Parameter(help=_DATA_DIR)]
Json: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document.")]


def say(sentence: str) -> None:
    """Prints a sentence for people to stderr, so that it never mixes with the result on stdout."""
    sys.stderr.write(f"lapel: {sentence}\n")
    sys.stderr.flush()


def emit(value: object, as_json: bool, lines: Callable[[], str]) -> None:
    """Prints the result: as one JSON document, or as lines for people.

    Raises CommandError when it cannot be written (a full disk, a closed pipe).
    """
    text = msgspec.json.encode(value).decode() if as_json else lines()
    with _read_by_somebody():
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()


def put(data: bytes) -> None:
    """Writes bytes to standard output unchanged. Raises CommandError when they cannot be written."""
    with _read_by_somebody():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _read_by_somebody() -> Generator[None]:
    try:
        yield
    except OSError as fault:  # a full disk, or a pipe whose reader has gone
        # The text stays in the buffer: at exit Python would write it again, fail, and set its own status.
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise CommandError(f"the result could not be written: {fault.strerror}.") from fault


def is_piped() -> bool:
    """Whether stdout is not a terminal: a pipe or a file."""
    return not sys.stdout.isatty()


def visible(text: str) -> str:
    """The text with unprintable characters escaped: clients choose names, and terminals obey controls."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table with columns as wide as their widest cell; each row is one line."""
    rows = [tuple(visible(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )
