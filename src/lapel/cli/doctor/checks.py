"""The checks of `lapel doctor`, part by part."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import aiohttp
import msgspec

from lapel.cli.shared import queries
from lapel.cli.shared.bucket import BucketClient
from lapel.cli.shared.faults import CommandError, database_setting, explain
from lapel.cli.shared.http_client import NoAnswer, answered
from lapel.embedded.postgres import install
from lapel.embedded.postgres.install import PostgresError
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.disk_guard import reserve_of
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.database.schema.schema_version import SCHEMA_FOUND, SchemaFound, newest_revision
from lapel.foundation.database.time_limits import is_refusal_of_pooler
from lapel.foundation.ports import credential_source
from lapel.foundation.storage.errors import ObjectMissing, StoreUnavailable
from lapel.hosting import prepare
from lapel.hosting.data_folder import DataFolder, DataFolderError
from lapel.process_environment import unknown_variables_here
from lapel.setting_fields import SettingsError

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.ports import Ports
    from lapel.settings import Settings

_SKEW = timedelta(seconds=30)
_CERTIFICATE_LEFT = timedelta(days=14)
_CREDENTIALS_LEFT = timedelta(hours=1)  # the promised lifetime of a signed link
_STORE_SECONDS = 5.0  # to connect, and for each part of an answer
_LINK_SECONDS = 3.0
_WAITING = timedelta(minutes=5)


class Finding(msgspec.Struct, frozen=True):
    """The state of one part. `broken`: repair it now; `warning`: repair it soon. `remedy`: what to do."""

    part: str
    state: Literal["ok", "warning", "broken"]
    detail: str
    remedy: str | None = None


def first_worker(settings: Settings) -> str:
    """The remedy when no worker runs: an embedded installation starts its only worker itself."""
    if _is_embedded(settings):
        return "The server starts its worker again by itself: its log (`process.ended`) says why it ended."
    return "Start one: `lapel serve --role worker`."


def another_worker(settings: Settings) -> str:
    """The remedy when the workers have too much to do. An embedded installation cannot have a second one."""
    if _is_embedded(settings):
        return (
            "This server has one worker and cannot have more. Give the machine more cores, or move to a "
            'PostgreSQL and S3 of your own, which any number of workers share: see "Several machines" in '
            "docs/operations.md."
        )
    return "Start another worker: `lapel serve --role worker`."


def _is_embedded(settings: Settings) -> bool:
    return settings.uses_embedded_database or settings.uses_embedded_store


def local(settings: Settings) -> Iterator[Finding]:
    """Findings that need neither the database nor the store."""
    unknown = unknown_variables_here()
    if unknown:
        meant = [each for each in unknown.values() if each is not None]
        remedy = f"Did you mean {', '.join(meant)}?" if meant else "See docs/settings.md."
        yield Finding("settings", "warning", f"{', '.join(unknown)}: no such setting", remedy)
    else:
        yield Finding("settings", "ok", "every LAPEL_* variable is known and usable")
    if settings.database_url is None:
        yield _programs()
    if prepare.needs_folder(settings):
        yield from _folder(settings)
    yield from _certificate(settings)


def _programs() -> Finding:
    try:
        install.check_rights()
        who = install.account(lambda _: None)
        place = install.programs(who, install.postgres_folder())
    except PostgresError as fault:
        return Finding("postgresql", "broken", str(fault), "Repair that, or set LAPEL_DATABASE_URL.")
    return Finding("postgresql", "ok", f"PostgreSQL {install.MAJOR} in {place}, run by {who.name}")


def _folder(settings: Settings) -> Iterator[Finding]:
    folder = DataFolder(settings.data_dir)
    if not folder.path.is_dir():
        in_the_way = _in_the_way(folder.path)
        if in_the_way is not None:
            detail = f"{folder.path} cannot be made: {in_the_way} is no folder"
            yield Finding("data folder", "broken", detail, "Name another folder with --data-dir.")
            return
        yield Finding(
            "data folder",
            "warning",
            f"{folder.path} does not exist yet",
            "Run `lapel serve`, which makes the folder.",
        )
        return
    mode = stat.S_IMODE(folder.path.stat().st_mode)
    try:
        folder.check_version()
    except DataFolderError as fault:
        yield Finding("data folder", "broken", str(fault), None)
    else:
        if mode & 0o077:
            yield Finding(
                "data folder", "warning", f"other users can enter {folder.path} (mode {mode:o})",
                f"chmod 700 {folder.path}",
            )  # fmt: skip
        else:
            running = folder.running() if folder.is_taken() else None
            state = f"in use by process {running.pid}" if running else "no server runs on it"
            yield Finding("data folder", "ok", f"{folder.path}, {state}")
    usage = shutil.disk_usage(folder.path)
    needed = reserve_of(usage.total, settings.min_free_bytes)
    free = (
        f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} free; the reserve, by this command's "
        f"LAPEL_MIN_FREE_BYTES, is {needed / 2**30:.1f} GiB (a server with another value keeps another)"
    )
    if usage.free < needed:
        remedy = (
            "Make room on the disk, or lower LAPEL_MIN_FREE_BYTES of the server: below its reserve, which is "
            "at least 5 % of the disk, uploads are refused with 507."
        )
        yield Finding("disk", "broken", free, remedy)
    else:
        state = "warning" if usage.free < 2 * needed else "ok"
        yield Finding(
            "disk",
            state,
            free,
            "Make room on the disk: uploads will soon be refused." if state == "warning" else None,
        )


def _in_the_way(path: Path) -> Path | None:
    """The file or dangling link in the place of the folder or of one above it; None if there is none."""
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    return None if there.is_dir() else there


def _certificate(settings: Settings) -> Iterator[Finding]:
    if settings.tls_cert is None:
        return
    try:
        prepare.check_tls(settings)
        ends = _ends(settings.tls_cert)
    except (SettingsError, ValueError, OSError) as fault:
        yield Finding("certificate", "broken", str(fault), None)
        return
    left, renew = ends - datetime.now(UTC), "Renew it and restart `lapel serve`."
    if left < timedelta():
        yield Finding("certificate", "broken", f"ended {ends:%Y-%m-%d}", renew)
    elif left < _CERTIFICATE_LEFT:
        yield Finding("certificate", "warning", f"ends {ends:%Y-%m-%d}", renew)
    else:
        yield Finding("certificate", "ok", f"good until {ends:%Y-%m-%d}")


def _ends(chain: Path) -> datetime:
    from cryptography import x509  # noqa: PLC0415  # slow, and only with TLS

    return x509.load_pem_x509_certificate(chain.read_bytes()).not_valid_after_utc


def address(settings: Settings) -> Iterator[Finding]:
    """A finding about the base URL in the links of a server with these settings.

    It is for a stopped server, because a running server reports its own URL.
    """
    remedy = "Set LAPEL_PUBLIC_URL to the URL that clients use for this server."
    if settings.public_url is None and settings.host in {"0.0.0.0", "::"}:  # noqa: S104
        yield Finding(
            "links", "warning", f"they name {settings.base_url}, which only this machine reaches", remedy
        )
    else:
        yield Finding("links", "ok", f"they name {settings.store_url}")


async def public_endpoint(settings: Settings) -> AsyncIterator[Finding]:
    """Whether LAPEL_S3_PUBLIC_ENDPOINT answers. Only a warning, because other machines may reach it."""
    url = settings.s3_public_endpoint
    if url is None or settings.uses_embedded_store:
        return
    where = f"they name LAPEL_S3_PUBLIC_ENDPOINT, {url}"
    try:
        status = await _public_status(url)
    except NoAnswer as fault:
        fails = str(fault)
    else:
        if status < 500:  # a store refuses a call without a signature
            yield Finding("links", "ok", where)
            return
        fails = f"it answers {status}"
    yield Finding(
        "links",
        "warning",
        f"{where}, which is not reached from this machine: {fails}",
        "Check the URL, its name in DNS, its certificate and the proxy there: clients upload and download "
        "through it. If only clients are meant to reach it, run `curl` with this URL where they are.",
    )


async def _public_status(url: str) -> int:
    with answered(url):
        patience = aiohttp.ClientTimeout(total=_LINK_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return response.status


def failed(fault: BaseException, settings: Settings, part: str = "database") -> Finding:
    """The finding about the part whose checks ended with this error. Raises the error if it is a defect."""
    sentence = explain(fault, in_doctor=True)
    if sentence is None:
        raise fault
    if isinstance(fault, DataFolderError) or is_refusal_of_pooler(fault):  # the sentence says what to do
        return Finding("database", "broken", sentence)
    if isinstance(fault, (CommandError, StoreUnavailable)):
        return Finding("store", "broken", sentence)
    return Finding(part, "broken", sentence, whose_log(part, settings, database_setting(fault)))


def whose_log(part: str, settings: Settings, database: str = "LAPEL_DATABASE_URL") -> str:
    """Where the cause of a failure is found. `database`: the setting with the URL of a database."""
    if part == "store":
        return "Check the LAPEL_S3_* settings, and the store."
    if settings.uses_embedded_database:
        return f"See {EmbeddedPostgres(settings.data_dir).log}."
    return f"Check {database}, and the log of that PostgreSQL."


async def database(connection: Connection, ports: Ports) -> Finding:
    """Whether the database has this code's schema, keeps what it promises, and has the right time."""
    schema, needed = SchemaFound(*await connection.fetchrow(SCHEMA_FOUND) or ("", "")), newest_revision()
    found = schema.revision
    if not schema.serves:
        remedy = "Run `lapel migrate`." if schema.is_older else "Use the newer Lapel."
        return Finding("database", "broken", f"schema {found}, this Lapel needs {needed}", remedy)
    if await queries.forgets(connection):
        return Finding(
            "database", "broken", "it answers before data are on disk (fsync or synchronous_commit is off)",
            "Switch both on: without them a power cut can undo promised uploads.",
        )  # fmt: skip
    skew = abs(await queries.database_now(connection) - ports.clock.now())
    if skew > _SKEW:
        detail = f"its clock and this machine's are {skew.total_seconds():.0f} s apart"
        return Finding("database", "warning", detail, "Run a time service such as chrony on both machines.")
    vector = await queries.vector_version(connection)
    if vector is None:
        return Finding(
            "database", "warning", f"schema {found}, no pgvector: search by meaning needs it",
            "Install pgvector 0.8 or newer on that server, and run `CREATE EXTENSION vector` in the database "
            "as an administrator.",
        )  # fmt: skip
    return Finding("database", "ok", f"schema {found}, pgvector {vector}")


async def work(connection: Connection, ports: Ports, *, is_served: bool) -> AsyncIterator[Finding]:
    """Findings about workers and jobs. `is_served`: a server is running, so a worker should run too."""
    now = ports.clock.now()
    workers = await queries.workers_seen(connection)
    if is_served and not workers:
        yield Finding("worker", "broken", "none was seen for 30 s", first_worker(ports.settings))
    elif is_served:
        yield Finding("worker", "ok", f"{workers} at work")
    held = await queries.held_jobs(connection)
    overdue, longest = await queries.overdue_jobs(connection, now)
    if held:
        listed = ", ".join(f"{count} × {name}" for name, count in held)
        yield Finding("jobs", "warning", f"given up: {listed}", "Look for job.failed in the worker's log.")
    elif is_served and longest > _WAITING:
        detail = f"{overdue} wait, the oldest for {longest.total_seconds():.0f} s"
        yield Finding("jobs", "warning", detail, another_worker(ports.settings))
    else:
        yield Finding("jobs", "ok", f"{overdue} due")
    found = await queries.findings(connection)
    if found:
        listed = ", ".join(f"{count} × {kind}" for kind, count in found)
        yield Finding("reconciler", "warning", f"found so far: {listed}", "Each is in the worker's log.")
    else:
        yield Finding("reconciler", "ok", "nothing found")


async def store(ports: Ports) -> AsyncIterator[Finding]:
    """Puts a small object into the store, reads it back and deletes it; then looks at the credentials."""
    yield await _store(ports)
    for finding in _credentials(ports):
        yield finding


async def _store(ports: Ports) -> Finding:
    """Puts a small object into the store, reads it back and deletes it."""
    where = f"bucket {ports.settings.s3_bucket} at {ports.settings.s3_endpoint}"
    if ports.settings.uses_embedded_store:
        where = f"embedded, bucket {ports.settings.s3_bucket}"
    client = BucketClient(ports.settings, ports.clock, patience=_STORE_SECONDS)
    key, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(64)
    remedy = "Check the LAPEL_S3_* settings, and that the keys may put, get, list and delete."
    try:
        if not await asyncio.to_thread(client.exists):
            return Finding("store", "broken", f"{where}: there is no such bucket", "Run `lapel init`.")
        await ports.store.put(key, content)
        back = await ports.store.get_range(key, 0, len(content))
        await ports.store.delete(key)
    except (StoreUnavailable, ObjectMissing, CommandError, OSError, *DATABASE_AWAY) as fault:
        return Finding("store", "broken", f"{where}: {explain(fault, in_doctor=True) or fault}", remedy)
    if back != content:
        return Finding("store", "broken", f"{where}: it returned other bytes than were stored", remedy)
    return Finding("store", "ok", where)


def _credentials(ports: Ports) -> Iterator[Finding]:
    if ports.settings.uses_embedded_store:
        return
    try:
        ends = credential_source(ports.settings, ports.clock).current().expires_at
    except StoreUnavailable as fault:
        yield Finding("credentials", "broken", str(fault), "See the LAPEL_S3_* settings.")
        return
    if ends is not None and ends - ports.clock.now() < _CREDENTIALS_LEFT:
        yield Finding(
            "credentials", "warning", f"they end {ends:%H:%M:%S} UTC, within the hour, and so do all links",
            "Give the role longer sessions, or a key of its own.",
        )  # fmt: skip
    else:
        yield Finding(
            "credentials", "ok", f"good until {ends:%Y-%m-%d %H:%M} UTC" if ends else "without an end"
        )
