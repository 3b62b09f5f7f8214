"""`lapel restore DIR`: makes an installation from a backup."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Annotated, TypeAlias

import asyncpg
import msgspec
from cyclopts import Parameter

from lapel.app import open_services
from lapel.cli.backup.archive import Archive, ArchiveManifest, in_parallel
from lapel.cli.backup.comparison import compare
from lapel.cli.backup.postgres_programs import restore_database
from lapel.cli.doctor.secret_checks import REMEDY, unusable_in
from lapel.cli.erase.reconciliation import end_keys_again
from lapel.cli.shared import queries
from lapel.cli.shared.bucket import BucketClient
from lapel.cli.shared.faults import CommandError, direct_url
from lapel.cli.shared.installation import settings_of, with_store
from lapel.cli.shared.options import DataDir, Json, emit, say
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import SystemClock
from lapel.foundation.database import migrations
from lapel.foundation.database.schema.schema_version import newest_revision
from lapel.foundation.ports import open_ports
from lapel.hosting import prepare
from lapel.hosting.data_folder import DataFolder
from lapel.settings import Settings
from lapel.slices.audit.operator import OperatorAudit
from lapel.slices.encrypted_uploads.policies.upload_policies import renew_revisions
from lapel.slices.projects.operator import OperatorKeys
from lapel.slices.projects.revocations import revocation_lines
from lapel.slices.projects.revocations.service import KeyRevocations

Source: TypeAlias = Annotated[Path, Parameter(help="Folder that `lapel backup` wrote.")]


class RestoredKeys(msgspec.Struct, frozen=True):
    """`working`: keys that work after the restore. `ended_again`: keys that ended after the backup, as the
    bucket's ledger says. `newer`: keys in this ledger that the backup does not have."""

    working: int
    ended_again: int
    newer: int


class Restored(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    data_dir: str | None
    schema: str
    objects: int
    bytes: int
    secrets: list[str]
    keys: RestoredKeys


def restore(directory: Source, /, *, data_dir: DataDir = None, json: Json = False) -> None:
    """Restore a backup into an empty data folder.

    With LAPEL_DATABASE_URL and LAPEL_S3_* the backup goes there instead, and the database must be empty. Set
    LAPEL_SECRET to the content of the backup's file `secret`, and LAPEL_SECRET_PREVIOUS to the content of
    `secret_previous`, if that file exists. The command checks the hash of every object,
    also against what the backup's database promises.

    For example:

        lapel restore /backups/2027-01-31 --data-dir /srv/lapel-new
        lapel restore /backups/today --json
    """
    archive = Archive(directory)
    manifest = archive.manifest()
    if manifest.schema > newest_revision():
        raise CommandError(
            f"the backup has schema {manifest.schema} of a newer Lapel; this one knows {newest_revision()}. "
            "Use the Lapel that made it, or a newer one."
        )
    settings = settings_of(data_dir)
    prepare.check_store_keys(settings)
    with _target(settings, archive) as settings:
        restore_database(settings, archive.dump)
        say("database restored; copying objects")
        with direct_url(settings) as url:
            migrations.upgrade(url)
        asyncio.run(_continue(settings, manifest))
        if (lost := unusable_in(settings)) is not None:
            say(f"Warning: the database has keys or tokens {lost}. {REMEDY}")
        client = _open_bucket(settings)
        # Before the objects: a given database can be served also if one of them is damaged.
        keys = asyncio.run(_end_keys_again(settings))
        asyncio.run(compare(settings, archive.entries(), manifest.erased))
        count, size = _load_objects(client, archive, manifest)
        folder = (
            str(settings.data_dir)
            if settings.uses_embedded_database or settings.uses_embedded_store
            else None
        )
    say(_of_keys(keys, manifest))
    say(_reminder(settings, manifest))
    secrets = ["secret"] if archive.secret_previous() is None else ["secret", "secret_previous"]
    done = Restored(folder, newest_revision(), count, size, secrets, keys)
    emit(
        done,
        json,
        lambda: (
            f"{done.objects} objects, {done.bytes:,} bytes and the database are back, with "
            f"{_named(secrets)}: `lapel serve"
            + (f" --data-dir {quote(str(data_dir))}`" if data_dir is not None else "`")
        ),
    )


async def _continue(settings: Settings, manifest: ArchiveManifest) -> None:
    """Go on after what happened since the backup, also if an object of the backup is damaged.

    Writes the restore into the audit log, and gives devices newer revisions than they can have seen.
    """
    async with open_ports(settings) as ports:
        async with ports.database.transaction() as connection:
            await renew_revisions(connection)
        await OperatorAudit(ports).record_restore(datetime.fromisoformat(manifest.created_at))


async def _end_keys_again(settings: Settings) -> RestoredKeys:
    """End the keys that ended after the backup, as far as the bucket tells of it; then the bucket tells of
    every end, also if it is a new one."""
    async with open_ports(settings) as ports:
        ended, newer = await end_keys_again(ports, revocation_lines.read(ports.store), say)
        await open_services(ports)[KeyRevocations].tell_again()
        return RestoredKeys(await OperatorKeys(ports).count_working(), ended, newer)


def _of_keys(keys: RestoredKeys, manifest: ArchiveManifest) -> str:
    """What became of the keys."""
    made = manifest.created_at
    newer = f" The bucket's ledger names {keys.newer} that ended." if keys.newer else ""
    again = (
        f" {keys.ended_again} more ended after the backup, and were ended again." if keys.ended_again else ""
    )
    return (
        f"Keys and tokens that are newer than {made} are unknown and answered 401: issue new ones.{newer} "
        f"{keys.working} keys work.{again} A key that was revoked or rotated later may work again, unless "
        "the ledger tells of it: compare `lapel keys list`. So may tokens of end users, uploads and devices "
        "that were revoked or replaced later: revoke or issue them again, and unbind such a device."
    )


def _reminder(settings: Settings, manifest: ArchiveManifest) -> str:
    """What must be done before the server starts."""
    back = (
        f"What was erased after {manifest.created_at} is back, and legal holds that were placed later are "
        "lost. "
    )
    file = (
        "FILE is of `lapel erase --export`, written after the backup. While the old installation exists, "
        "`lapel erase --export FILE --data-dir OLD` writes it."
    )
    if settings.uses_embedded_store:
        return (
            f"{back}The bucket is as old as the backup. Before you start the server, run "
            f"`lapel erase --reconcile --from FILE --data-dir {settings.data_dir}`. {file}"
        )
    return (
        f"{back}Before you start the server, run `lapel erase --reconcile --data-dir {settings.data_dir}`."
        f" If the bucket is not the one that the installation used until now, add `--from FILE`. {file}"
    )


def _named(secrets: list[str]) -> str:
    return "the secret" if len(secrets) == 1 else "the secret and the one before its last change"


@contextlib.contextmanager
def _target(settings: Settings, archive: Archive) -> Generator[Settings]:
    """Complete settings of an empty installation with the backup's secrets; it runs during the block."""
    secret = archive.secret()
    if settings.secret is not None and settings.secret != secret:
        raise CommandError(
            f"LAPEL_SECRET is not the secret of the backup; set it to the content of {archive.path}/secret."
        )
    previous = archive.secret_previous()
    if settings.database_url is None and settings.secret_previous is None:
        settings = dataclasses.replace(settings, secret_previous=previous)  # the folder will hold it
    settings = dataclasses.replace(settings, secret=secret)
    if previous is not None and settings.secret_previous != previous:
        say(
            "Warning: LAPEL_SECRET_PREVIOUS is not the previous secret of the backup. Set it to the "
            f"content of {archive.path}/secret_previous: otherwise older keys and tokens do not work."
        )
    with contextlib.ExitStack() as stack:
        if settings.database_url is not None:
            _check_empty(settings.database_url)
        if prepare.needs_folder(settings):
            folder = DataFolder(settings.data_dir)
            folder.prepare()
            stack.enter_context(folder.locked())
            stack.enter_context(folder.restoring())
            if settings.database_url is None:
                folder.put_secrets(secret, previous)
                server = EmbeddedPostgres(folder.path, say=say)
                server.start()
                stack.callback(server.stop)
                settings = prepare.complete(settings, server.dsn(), None)
            if settings.uses_embedded_store:
                settings = with_store(settings, folder, stack)
            yield settings
            folder.write_version()
        else:
            yield settings


def _check_empty(database_url: str) -> None:
    async def ask() -> bool:
        connection = await asyncpg.connect(database_url, timeout=10)
        try:
            return await queries.is_empty(connection)
        finally:
            await connection.close()

    if not asyncio.run(ask()):
        raise CommandError(
            "the database of LAPEL_DATABASE_URL already contains an installation; restore into an empty one."
        )


def _open_bucket(settings: Settings) -> BucketClient:
    """The bucket, which is made if it does not exist."""
    client = BucketClient(settings, SystemClock())
    if not client.exists():
        client.make()
        client.open_to_browsers()  # a bucket that existed keeps the rules of its owner
    return client


def _load_objects(client: BucketClient, archive: Archive, manifest: ArchiveManifest) -> tuple[int, int]:
    """Copies every object into the store; returns their number and their total size in bytes."""
    count, size = 0, 0
    for entry, _ in in_parallel(lambda entry: archive.load(client, entry), archive.entries()):
        count, size = count + 1, size + entry.size
    if (count, size) != (manifest.objects, manifest.bytes):
        raise CommandError(
            f"the backup lists {count} objects of {size} bytes, but its backup.json says {manifest.objects} "
            f"objects of {manifest.bytes} bytes: the backup is damaged."
        )
    return count, size
