"""`lapel erase`: after a restore, erase again what had been erased; keep the ledger in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from lapel.app import open_services
from lapel.cli.erase import ledger_files
from lapel.cli.erase.one_resource import erase_one, sentence
from lapel.cli.erase.reconciliation import Reconciled, Reconciliation
from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, counted, emit, say
from lapel.foundation.core.clock import timestamp
from lapel.foundation.ports import Ports
from lapel.slices.audit.operator import OperatorAudit
from lapel.slices.erasure.outside import hold_lines, ledger_lines
from lapel.slices.projects.revocations import revocation_lines


class ExportedLedger(msgspec.Struct, frozen=True):
    """What `--export` prints with `--json`."""

    path: str
    lines: int
    holds: int
    keys: int


def erase(
    resource_id: Annotated[
        str | None, Parameter(help="A recording, rec_…, or an end user, eu_…, to erase.")
    ] = None,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=(), help="Really erase this resource.")] = False,
    reconcile: Annotated[
        bool, Parameter(negative=(), help="Erase again what had been erased before a restore.")
    ] = False,
    from_: Annotated[
        Path | None,
        Parameter(name="--from", help="With --reconcile: a file of --export, read instead of the bucket."),
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="With --reconcile: show what would be erased, and erase nothing.")
    ] = False,
    export: Annotated[Path | None, Parameter(help="Write the erasure ledger to this file as NDJSON.")] = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Erase a recording or an end user, or again what a restored backup brought back; export the ledger.

    With an id, the command does what a DELETE request does, and erases the objects at once. It works with the
    server running or stopped. A legal hold postpones it as it postpones a DELETE.

    A backup is older than some erasures. The bucket has a small object for each erasure (`ledger/…`), and for
    each API key that was revoked or rotated. After a restore, `--reconcile` compares these objects with the
    database, ends keys that work again, places lost legal holds again, and erases what is there again. If the
    bucket was restored too, as `lapel restore` does it into a data folder, give a file that `--export` wrote
    later than the backup; while the old data folder exists, `--export` also writes it now. Keep this file on
    another machine than the backups. The command may be repeated, with the server running or stopped. Its
    status is 1 if objects remain.

    For example:

        lapel erase rec_… --yes
        lapel erase --export /elsewhere/erased.ndjson
        lapel erase --reconcile --from /elsewhere/erased.ndjson --dry-run
        lapel erase --reconcile
    """
    if [resource_id is not None, reconcile, export is not None].count(True) != 1:
        raise CommandError(
            "give either an id, or --reconcile, or --export FILE; `lapel erase --help` explains them."
        )
    if yes and resource_id is None:
        raise CommandError("--yes belongs to an id; leave it out.")
    if resource_id is not None:
        if from_ is not None or dry_run:
            raise CommandError("--from and --dry-run belong to --reconcile; leave them out with an id.")
        asked = resource_id
        one = with_ports(
            settings_of(data_dir), lambda ports: erase_one(open_services(ports), asked, yes=yes), store=True
        )
        emit(one, json, lambda: sentence(one))
        return
    if export is not None:
        if from_ is not None or dry_run:
            raise CommandError("--from and --dry-run belong to --reconcile; leave them out with --export.")
        target = export
        found = with_ports(settings_of(data_dir), lambda ports: ledger_files.export(ports, target))
        made = ExportedLedger(str(target), *found)
        emit(
            made,
            json,
            lambda: (
                f"{made.path}: {counted(made.lines, 'erasure')}, {counted(made.holds, 'legal hold')}, "
                f"{counted(made.keys, 'ended key')}"
            ),
        )
        return

    async def run(ports: Ports) -> Reconciled:
        if from_ is None:
            await _warn_of_old_bucket(ports)
            ends = revocation_lines.read(ports.store)
            holds, pages = hold_lines.read(ports.store), ledger_lines.read(ports.store)
        else:
            ends = ledger_files.read_ends(from_)
            holds, pages = ledger_files.read_holds(from_), ledger_files.read(from_)
        return await Reconciliation(ports, say, dry_run=dry_run).run(ends, holds, pages)

    done = with_ports(settings_of(data_dir), run, store=True)
    emit(done, json, lambda: _sentence(done, dry_run))
    if done.open:
        raise CommandError(
            f"objects of {done.open} of them remain; a running worker erases them, or repeat the command."
        )


async def _warn_of_old_bucket(ports: Ports) -> None:
    restore = await OperatorAudit(ports).last_restore()
    if restore is None or await ledger_lines.tells_between(ports.store, *restore):
        return
    say(
        f"Warning: the database was restored from a backup of {timestamp(restore.backup_created_at)}, and "
        "the bucket tells of no erasure and no hold between the backup and the restore. If the bucket was "
        "restored too, this command finds nothing: add `--from FILE`, with a file that "
        "`lapel erase --export` wrote after the backup. While the old data folder exists, "
        "`lapel erase --export FILE --data-dir OLD` writes it."
    )


def _sentence(done: Reconciled, dry_run: bool) -> str:
    lost = f"; {counted(done.holds, 'lost legal hold')}" if done.holds else ""
    if lost and not dry_run:
        lost += ", placed again"
    if done.hidden:
        lost += f"; legal holds keep {counted(done.hidden, 'deleted resource')} hidden"
    if done.keys:
        lost += f"; {counted(done.keys, 'key')} worked again" + ("" if dry_run else ", ended again")
    ledger = f"{counted(done.lines, 'erasure')} in the ledger"
    resources = (
        f"{counted(done.end_users, 'end user')}, {counted(done.recordings, 'recording')} and the audio of "
        f"{done.audio} more"
    )
    if done.end_users + done.recordings + done.audio == 0:
        return f"{ledger}; the database shows none of these resources{lost}"
    if dry_run:
        return f"{ledger}; back in the database: {resources}; nothing was erased{lost}"
    ended = f"{done.erased} erased again, {done.held} kept by legal holds, {done.open} unfinished"
    return f"{ledger}; back in the database: {resources}; {ended}{lost}"
