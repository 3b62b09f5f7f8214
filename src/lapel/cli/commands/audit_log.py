"""`lapel audit verify|export`. The server may be running or stopped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.new_file import new_file
from lapel.cli.shared.options import DataDir, Json, emit, moment, put, say, table
from lapel.slices.audit.chain.kept_checkpoints import KeptCheckpoints
from lapel.slices.audit.operator import OperatorAudit

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.audit.chain.verification import ChainReport
    from lapel.slices.projects.service import WorldRow

Project = Annotated[str | None, Parameter(help="Id of a project. Default: all projects.")]
Mode = Annotated[
    Literal["test", "live"],
    Parameter(help="The worlds to export: test or live. A line does not name its world."),
]
File = Annotated[
    Path,
    Parameter(
        help="File for the entries, one JSON object a line; - for stdout.",
        allow_leading_hyphen=True,  # for - itself
    ),
]
Checkpoints = Annotated[
    Path | None,
    Parameter(
        help="Also compare with checkpoints kept elsewhere: a log of the workers; - for stdin.",
        allow_leading_hyphen=True,  # for - itself
    ),
]
Since = Annotated[
    str | None, Parameter(help="Only entries at this time or later, such as 2027-01-31T00:00:00Z.")
]
Until = Annotated[str | None, Parameter(help="Only entries before this time. Default: now.")]

# Entries between two lines of progress.
_TOLD_EVERY = 100_000


class ExportedAudit(msgspec.Struct, frozen=True):
    """What `lapel audit export --json` prints."""

    path: str
    mode: Literal["test", "live"]
    entries: int


def verify(
    *,
    project: Project = None,
    checkpoints: Checkpoints = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Verify the audit log: every entry, its values, its chain and its checkpoints. Status 1 if broken.

    The first broken link of each world is named. With --checkpoints, the command also finds a log whose end
    was cut off or that was signed anew. docs/audit.md says what a good chain proves.

    For example:

        lapel audit verify
        lapel audit verify --project proj_… --json
        lapel audit verify --checkpoints /logs/worker.log
        journalctl -u lapel | lapel audit verify --checkpoints -
    """

    def progress(world: WorldRow, number: int) -> None:
        if number % _TOLD_EVERY == 0:
            say(f"{world.project_id} {world.mode}: {number:,} entries verified")

    async def work(ports: Ports) -> tuple[list[ChainReport], list[str]]:
        kept = None if checkpoints is None else _kept(ports, checkpoints)
        reports = [report async for report in OperatorAudit(ports, project).verify(progress, kept)]
        found = {(each.project_id, each.mode) for each in reports}
        lost: set[str] = set()
        if kept is not None and project is None:
            lost = {project_id for project_id, mode in kept.worlds if (project_id, mode) not in found}
        return reports, sorted(lost)

    reports, lost = with_ports(settings_of(data_dir), work)
    rows = [
        (
            each.project_id,
            each.mode,
            f"{each.entries:,}",
            f"{each.erased:,}",
            f"{each.signed:,}",
            "good" if each.broken is None else "BROKEN",
        )
        for each in reports
    ]
    head = ("PROJECT", "MODE", "GOOD ENTRIES", "ERASED", "SIGNED UP TO", "CHAIN")
    emit({"data": reports}, json, lambda: table(head, rows))
    broken = [each for each in reports if each.broken is not None]
    for each in broken:
        say(_sentence(each))
    for each in lost:
        say(
            f"{each}: a checkpoint of its audit log was given, but the database has no such project. The "
            "project was removed, or this is another database."
        )
    if broken or lost:
        sys.exit(1)


def _kept(ports: Ports, file: Path) -> KeptCheckpoints:
    """The checkpoints of a file. Raises CommandError when it has none, and OSError when it cannot be read."""
    standard_input = str(file) == "-"
    with open(0 if standard_input else file, errors="replace", closefd=not standard_input) as lines:
        kept = KeptCheckpoints(ports.signer, lines)
    others = f"{kept.unsigned} checkpoints that no key of this server signed"
    if not kept.worlds:
        found = f"has only {others}" if kept.unsigned else "has no checkpoint of an audit log"
        raise CommandError(
            f"{file} {found}. The workers log each checkpoint at level info, as `audit.checkpoint`."
        )
    if kept.unsigned:
        say(
            f"{file} has {others}, which are not compared. If LAPEL_SECRET was changed, give its former "
            "value as LAPEL_SECRET_PREVIOUS."
        )
    return kept


def _sentence(report: ChainReport) -> str:
    broken = report.broken
    if broken is None:
        raise ValueError("the chain is good")
    place = "" if broken.number is None else f", number {broken.number}"
    entry = "" if broken.entry_id is None else f", entry {broken.entry_id}"
    return f"{report.project_id} {report.mode}{place}{entry}: {broken.message} ({broken.kind})."


def export(
    file: File,
    /,
    *,
    project: Project = None,
    mode: Mode = "test",
    since: Since = None,
    until: Until = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write the audit log of the test or live worlds as NDJSON, oldest first.

    For example:

        lapel audit export audit.ndjson --mode live --project proj_…
        lapel audit export - --since 2027-01-01T00:00:00Z
        lapel audit export audit.ndjson --mode live --until 2027-02-01T00:00:00Z
    """
    if str(file) != "-" and str(file).startswith("-"):
        raise CommandError(f"{file} is no flag of this command; write ./{file} for a file of this name.")
    begin, end = (
        None if text is None else moment(flag, text, "2027-01-31T12:00:00Z")
        for flag, text in (("--since", since), ("--until", until))
    )

    async def work(ports: Ports, out: IO[bytes] | None) -> int:
        written = 0
        async for piece in OperatorAudit(ports, project).export(mode, begin, end):
            if out is None:
                put(piece)
            else:
                out.write(piece)
            written += piece.count(b"\n")
        return written

    settings = settings_of(data_dir)
    if str(file) == "-":
        with_ports(settings, lambda ports: work(ports, None))
        return
    with new_file(file, "name a new file.") as out:  # for the owner alone, because entries have addresses
        written = with_ports(settings, lambda ports: work(ports, out))
    done = ExportedAudit(str(file), mode, written)
    emit(done, json, lambda: f"{done.path}: {done.entries:,} entries of {done.mode} worlds")
