"""`lapel backup DIR`: writes everything that a new installation needs to replace this installation.

Source: PostgreSQL's documentation of pg_dump (--snapshot) and of pg_export_snapshot.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, TypeAlias

import asyncpg
import msgspec
from cyclopts import Parameter

from lapel import __version__
from lapel.cli.backup.archive import Archive, ArchiveManifest, in_parallel
from lapel.cli.backup.postgres_programs import dump_database, read_dump, restore_database
from lapel.cli.doctor.secret_checks import unusable_in
from lapel.cli.shared import queries
from lapel.cli.shared.bucket import BucketClient
from lapel.cli.shared.faults import CommandError, direct_url
from lapel.cli.shared.installation import reachable, settings_of
from lapel.cli.shared.options import DataDir, Json, emit, say
from lapel.cli.shared.queries import PromisedObject
from lapel.embedded.postgres.install import PostgresError
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import SystemClock, timestamp
from lapel.foundation.database.time_limits import UNLIMITED
from lapel.foundation.ports import credential_source
from lapel.foundation.storage.client import open_store
from lapel.foundation.storage.object_names import SEALED, STAGING
from lapel.hosting.data_folder import write_durably
from lapel.settings import Settings

Target: TypeAlias = Annotated[Path, Parameter(help="New or empty folder for the backup.")]


class FinishedBackup(msgspec.Struct, frozen=True):
    """What `--json` prints."""

    path: str
    objects: int
    bytes: int
    erased: int


def backup(directory: Target, /, *, data_dir: DataDir = None, json: Json = False) -> None:
    """Write database, objects and secrets to a folder, with the server running or stopped.

    The command dumps the database first, reads the dump back, and restores its tables without their rows into
    an empty database of its own. Then it copies every object that the dump promises, and compares its hash
    with the promised one. So the backup contains, complete, everything that was accepted before it
    began. Protect the folder: it also contains the keys.

    For example:

        lapel backup /backups/2027-01-31
        lapel backup --data-dir /srv/lapel /backups/today --json
    """
    archive = Archive(directory)
    with reachable(settings_of(data_dir), store=True) as settings:
        if archive.path.resolve().is_relative_to(settings.data_dir.resolve()):
            raise CommandError(f"{archive.path} lies in the data folder; write the backup somewhere else.")
        archive.begin()
        began = SystemClock().now()  # the backup holds what was committed until now
        schema = asyncio.run(_dump(settings, archive))
        _prove(settings, archive)
        archive.put_secret("secret", settings.secret)
        archive.put_secret("secret_previous", settings.secret_previous)
        if (lost := unusable_in(settings)) is not None:
            say(
                f"Warning: the database has keys or tokens {lost}. They will not work after a restore. If "
                "the server has LAPEL_SECRET or LAPEL_SECRET_PREVIOUS, give `lapel backup` the same values."
            )
        say("database dumped and read back; copying objects")
        client = BucketClient(settings, SystemClock())
        with archive.index.open("wb") as index:
            size, count, missing = _copy_promised(archive, client, index)
            more, staged = _copy_staged(settings, archive, client, index)
            index.flush()
            os.fsync(index.fileno())
        lost = asyncio.run(_not_erased(settings, missing))
        archive.promised.unlink()
        if lost:
            raise CommandError(
                f"{len(lost)} objects that were promised are not in the store; the first is {lost[0]}. The "
                "backup is not finished; `lapel doctor` and the reconciler's findings in /metrics say more."
            )
        manifest = ArchiveManifest(
            __version__, schema, timestamp(began), count + staged, size + more, len(missing)
        )
        write_durably(archive.manifest_file, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    made = FinishedBackup(str(archive.path), manifest.objects, manifest.bytes, manifest.erased)
    emit(made, json, lambda: f"{made.path}: {made.objects} objects, {made.bytes:,} bytes, and the database")


async def _dump(settings: Settings, archive: Archive) -> str:
    """Dumps the database, and lists exactly the objects of that dump in another file.

    Returns the revision of the schema.
    """
    with direct_url(settings) as url:
        connection = await asyncpg.connect(url, timeout=10, server_settings=UNLIMITED)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                snapshot = await queries.export_snapshot(connection)
                await asyncio.to_thread(dump_database, settings, archive.dump, snapshot)
                with archive.promised.open("wb") as lines:
                    async for each in queries.promised(connection):
                        lines.write(msgspec.json.encode(each) + b"\n")
                return await queries.schema(connection)
        finally:
            await connection.close()


def _prove(settings: Settings, archive: Archive) -> None:
    """Reads the whole dump back, and restores its tables, without rows, into an empty embedded database.

    Raises CommandError when the dump cannot be read. Warns when its tables cannot be restored there: the
    database may use what only its own server has.
    """
    read_dump(settings, archive.dump)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with EmbeddedPostgres(Path(folder), extra={"fsync": "off"}) as server:
                target = dataclasses.replace(settings, database_url=server.dsn(), listen_database_url=None)
                restore_database(target, archive.dump, "--schema-only")
        except PostgresError as fault:
            say(f"The dump was read, and its tables were not tried: {fault}")
        except CommandError as fault:
            say(
                f"Warning: this backup cannot be restored into a data folder: {fault}. Restore it into a "
                "PostgreSQL like the one it comes from."
            )


def _copy_promised(
    archive: Archive, client: BucketClient, index: IO[bytes]
) -> tuple[int, int, list[PromisedObject]]:
    """Copies every promised object. Returns their bytes, their number, and the objects that are missing."""

    def wanted() -> Iterator[PromisedObject]:
        decoder = msgspec.json.Decoder(PromisedObject)
        with archive.promised.open("rb") as lines:
            for line in lines:
                yield decoder.decode(line)

    size, count = 0, 0
    missing: list[PromisedObject] = []
    for each, entry in in_parallel(lambda each: archive.save(client, each.key), wanted()):
        if entry is None:
            missing.append(each)
            continue
        if (entry.size, entry.sha256) != (each.size, each.sha256):
            raise CommandError(
                f"{each.key} is damaged in the store: {entry.size} bytes with SHA-256 {entry.sha256}, "
                f"but promised were {each.size} bytes with {each.sha256}. The backup is not finished."
            )
        index.write(msgspec.json.encode(entry) + b"\n")
        size, count = size + entry.size, count + 1
    return size, count, missing


def _copy_staged(
    settings: Settings, archive: Archive, client: BucketClient, index: IO[bytes]
) -> tuple[int, int]:
    """Copies the objects of uploads that are not completed yet; returns their bytes and their number.

    If an upload is completed meanwhile, its staged object is gone, and is left out.
    """
    size, count = 0, 0
    for _, entry in in_parallel(lambda key: archive.save(client, key), asyncio.run(_staged(settings))):
        if entry is not None:
            index.write(msgspec.json.encode(entry) + b"\n")
            size, count = size + entry.size, count + 1
    return size, count


async def _staged(settings: Settings) -> list[str]:
    store = open_store(settings, credential_source(settings, SystemClock()))
    try:
        return [each.key for prefix in (STAGING, SEALED) async for each in store.list(prefix)]
    finally:
        await store.close()


async def _not_erased(settings: Settings, missing: list[PromisedObject]) -> list[str]:
    """Keys of the missing objects that nobody deleted since the dump: these objects are lost."""
    if not missing:
        return []
    connection = await asyncpg.connect(settings.database_url, timeout=10)
    try:
        return [
            each.key for each in missing if await queries.still_promised(connection, each.world_id, each.key)
        ]
    finally:
        await connection.close()
