"""A file that a command writes: complete, or not there."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING

from lapel.cli.shared.faults import CommandError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextlib.contextmanager
def new_file(path: Path, remedy: str) -> Generator[IO[bytes]]:
    """A new file that only its owner can read.

    It gets its name when the block has ended and the file is synced; if anything fails before, no file is
    left. `remedy`: what to do if the file exists. Raises CommandError when it exists, also if another program
    made it meanwhile, and OSError when it cannot be written.
    """
    _check_free(path, remedy)
    temporary = path.with_name(f".{path.name}.part")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        _check_free(path, remedy)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _check_free(path: Path, remedy: str) -> None:
    if path.exists():
        raise CommandError(f"{path} exists already; {remedy}")
