"""`lapel export`: everything about one end user, as a zip."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.new_file import new_file
from lapel.cli.shared.options import DataDir, Json, emit, say, visible
from lapel.foundation.core.errors import NotFound, Unavailable
from lapel.parsers import MIB

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

EndUserId = Annotated[str, Parameter(help="Id of the end user, eu_….")]
Output = Annotated[
    Path | None,
    Parameter(
        name=("--output", "-o"),
        help="File for the zip. Default: a name with the id and the date, in the current folder.",
    ),
]

# Seconds between two messages about the progress.
_TELL_EVERY = 10.0


class FinishedExport(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    path: str
    bytes: int
    end_user_id: str
    finished: Literal[True] = True


def export(
    end_user_id: EndUserId, /, *, output: Output = None, data_dir: DataDir = None, json: Json = False
) -> None:
    """Write everything that is stored about one end user into a zip, with the server running or stopped.

    The zip has the end user, devices, commands, diagnostics, recordings with all media, transcriptions,
    summaries, Ask sessions with their messages, and audit entries. Protect the file: it is personal. While
    the command runs, the file has another name, so a file with the final name is complete. Each export is in
    the audit log.

    For example:

        lapel export eu_…
        lapel export eu_… -o /safe/jane.zip --data-dir /srv/lapel
    """

    async def work(ports: Ports) -> FinishedExport:
        from lapel import app  # noqa: PLC0415  # after the checks: it imports a lot
        from lapel.slices.end_user_exports.service import EndUserExports  # noqa: PLC0415

        exports = app.open_services(ports)[EndUserExports]
        try:
            name, pieces = await exports.export_for_operator(end_user_id)
            path = output or Path(name)
            size = await write_whole(path, pieces, time.monotonic)
        except NotFound as fault:
            raise CommandError(
                f"there is no end user {visible(end_user_id)!r}, or the end user was deleted meanwhile."
            ) from fault
        except Unavailable as fault:
            raise CommandError(
                f"the export was broken off, and no file was written: {fault.message}"
            ) from fault
        return FinishedExport(str(path), size, end_user_id)

    done = with_ports(settings_of(data_dir), work, store=True)
    emit(done, json, lambda: f"{done.path}  {done.bytes:,} bytes")


async def write_whole(path: Path, pieces: AsyncGenerator[bytes], clock: Callable[[], float]) -> int:
    """Write all pieces to a new file, and return their size in bytes.

    `clock`: seconds, for the messages about the progress. Raises CommandError when the file exists, OSError
    when it cannot be written, and what `pieces` raises; then no file is left.
    """
    size, told = 0, clock()
    with new_file(path, "name another file with --output, or remove this one.") as file:
        async with aclosing(pieces):
            async for piece in pieces:
                file.write(piece)
                size += len(piece)
                if clock() - told >= _TELL_EVERY:
                    told = clock()
                    say(f"{size // MIB:,} MiB written")
    return size
