"""Gives a command the database and the store: those of a running server, or ones started for the command.

If the server is stopped, its embedded database is started while the command runs, under the data folder's
lock. If the server is running, its file run.json names the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import select
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lapel.cli.shared.faults import CommandError, direct_url
from lapel.cli.shared.http_client import NoAnswer, request
from lapel.cli.shared.options import say, warn_of_unknown_variables
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation import telemetry
from lapel.foundation.database.schema.schema_version import newest_revision
from lapel.foundation.database.time_limits import is_pooled
from lapel.hosting import prepare
from lapel.hosting.children import Child
from lapel.hosting.data_folder import DataFolder, DataFolderError, Running
from lapel.hosting.sockets import listen
from lapel.process_environment import child_environment
from lapel.setting_fields import default_data_dir
from lapel.settings import Settings

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports

T = TypeVar("T")
_LISTENING = 3.0  # seconds to wait for the connection by which servers confirm a revocation
_LOOKED_FOR = 1.0  # seconds for the answer of a server that may run on another folder
PATIENCE = 60.0  # seconds to wait for a server that is starting, or for another command


def settings_of(data_dir: Path | None, *, warns: bool = True) -> Settings:
    """Settings for a command about the whole installation, for any role of this machine.

    From here on the command logs warnings and errors to stderr, because stdout is for its result alone.
    `warns`: says which LAPEL_* variables are no settings. Raises SettingsError when a setting cannot be used.
    """
    if warns:
        warn_of_unknown_variables()
    settings = Settings.load(data_dir=data_dir, role="all")
    telemetry.configure("warning", settings.log_format, "command")
    return settings


def with_ports(settings: Settings, work: Callable[[Ports], Awaitable[T]], *, store: bool = False) -> T:
    """Runs `work` on the ports of this installation. `store`: `work` also needs a running store.

    Raises what `reachable` and `work` raise, StoreUnavailable when there are no store credentials, and
    asyncpg's errors when the database cannot be reached.
    """
    prepare.check_store_keys(settings)  # the ports need keys even when `work` does not use the store
    with reachable(settings, store=store) as complete:
        from lapel.foundation.ports import open_ports  # noqa: PLC0415  # after the checks: it imports a lot

        async def run() -> T:
            async with open_ports(complete) as ports:
                return await work(ports)

        return asyncio.run(run())


def revoking(settings: Settings, work: Callable[[Ports], Awaitable[T]]) -> T:
    """Runs `work` on ports that receive the servers' confirmations of a revocation.

    Raises what `with_ports` and `work` raise.
    """

    async def listening(ports: Ports) -> T:
        await ports.revocations.start()
        deadline = time.monotonic() + _LISTENING
        while not ports.revocations.cache.confirmed and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return await work(ports)

    return with_ports(settings, listening)


@contextlib.contextmanager
def reachable(
    settings: Settings, *, store: bool = False, migrate: bool = False, begin: bool = False
) -> Generator[Settings]:
    """Complete settings, with the database (and with `store` the store) running during the block.

    `migrate`: migrate an older schema; otherwise an older schema is refused. `begin`: make an installation in
    a folder without one; otherwise such a folder is refused. To migrate a database that the settings name, no
    folder is needed.

    Raises SettingsError when there are no keys for the store, DataFolderError when the folder or the schema
    cannot be used, PostgresError when the embedded database does not start, and CommandError when the
    embedded store does not.
    """
    if store:
        prepare.check_store_keys(settings)
    only_database = migrate and not store and settings.database_url is not None
    if not prepare.needs_folder(settings) or only_database:
        _check_given(settings, migrate=migrate)
        yield settings
        return
    folder = DataFolder(settings.data_dir)
    if begin:
        if not folder.path.exists():
            say(f"making a new installation in {folder.path}")
        folder.prepare()
    else:
        _check_begun(folder, settings, waits=True)
    with contextlib.ExitStack() as stack:
        running = _locked_or_running(folder, stack)
        if running is None and not begin:  # that server may have ended before it was ready
            _check_begun(folder, settings, waits=False)
        folder.check_version()
        settings = prepare.with_secret(settings, folder)
        if settings.database_url is not None:
            _check_given(settings, migrate=migrate)
        elif running is not None and running.database_url is not None:
            settings = _with_running_postgres(settings, folder, running.database_url, migrate=migrate)
        else:
            settings = _with_own_postgres(settings, folder, stack, migrate=migrate)
        if settings.uses_embedded_store:
            if store and (running is None or running.store_endpoint is None):
                settings = with_store(settings, folder, stack)
            else:
                settings = _with_store_of(settings, running)
        yield settings


def _check_begun(folder: DataFolder, settings: Settings, *, waits: bool) -> None:
    """Raises DataFolderError when the folder holds no installation, or belongs to another user.

    Without this check, a mistyped folder would become a second, empty installation, whose keys the server
    that the operator means refuses. `waits`: the installation may be one that another process makes now.
    """
    if folder.path.is_dir():
        folder.check_owner()
    folder.check_restored()
    # The folder of an installation whose database the settings name may be empty.
    given = settings.database_url is not None and folder.path.is_dir()
    if given or folder.version() is not None:
        return
    if waits and folder.is_begun() and folder.is_taken():
        return
    elsewhere = _running_elsewhere(folder, settings)
    if folder.is_begun():
        raise DataFolderError(
            f"{folder.path} holds an installation that was begun and not finished; `lapel serve` and "
            f"`lapel init` finish it.{elsewhere}"
        )
    found = "is no data folder of Lapel" if folder.path.exists() else "does not exist"
    raise DataFolderError(
        f"{folder.path} {found}; name the data folder with --data-dir. "
        f"`lapel serve` and `lapel init` make a new one.{elsewhere}"
    )


def _running_elsewhere(folder: DataFolder, settings: Settings) -> str:
    """A sentence about a server that runs on another folder; empty when none is found.

    The server is looked for in the default folder, and at the address at which a server would listen now.
    """
    default = DataFolder(default_data_dir(os.environ))
    running = default.running() if default.path != folder.path else None
    with contextlib.suppress(OSError):
        if running is not None and default.is_taken():
            return f" A server runs on {default.path}, at {running.base_url}."
    with contextlib.suppress(NoAnswer, msgspec.DecodeError):
        health = request("GET", f"{settings.base_url}/health", timeout=_LOOKED_FOR, verify=False).body
        if "billing" in msgspec.json.decode(health, type=dict[str, str]):
            return (
                f" The server at {settings.base_url} runs on another folder, which it named when it started."
            )
    return ""


def _check_given(settings: Settings, *, migrate: bool) -> None:
    if migrate:
        from lapel.foundation.database import migrations  # noqa: PLC0415  # slow to import

        found = prepare.schema_of(str(settings.database_url), pooled=is_pooled(settings))
        if found is None or found.revision <= newest_revision():
            # Past a pooler: a long statement must not be limited, nor an index be built in several sessions.
            with direct_url(settings) as url:
                migrations.upgrade(url)
    prepare.check_schema(str(settings.database_url), pooled=is_pooled(settings))


def _locked_or_running(folder: DataFolder, stack: contextlib.ExitStack) -> Running | None:
    """Takes the folder's lock and returns None, or returns the running server that holds it.

    Waits, for PATIENCE seconds at most, while a server is starting or another command holds the lock.
    """
    deadline = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            stack.enter_context(folder.locked())
        except DataFolderError:
            running = folder.running()
            if running is not None:
                return running
            if time.monotonic() > deadline:
                raise
        else:
            folder.clear_running()
            return None
        if not told:
            say("waiting for another lapel on this data folder")
            told = True
        time.sleep(0.1)


def _check_not_older(folder: DataFolder) -> None:
    if folder.version() is not None and folder.needs_migration():
        raise DataFolderError(
            f"{folder.path} has an older schema. Run `lapel migrate --data-dir {folder.path}`, or "
            "`lapel serve`, which does it too."
        )


def _with_running_postgres(
    settings: Settings, folder: DataFolder, database_url: str, *, migrate: bool
) -> Settings:
    settings = prepare.complete(settings, database_url, None)
    if migrate:
        prepare.prepare_database(settings, folder)
        folder.write_version()
    else:
        _check_not_older(folder)  # the running server may be an older version
    return settings


def _with_own_postgres(
    settings: Settings, folder: DataFolder, stack: contextlib.ExitStack, *, migrate: bool
) -> Settings:
    if not migrate:
        _check_not_older(folder)
    server = EmbeddedPostgres(folder.path, say=say)
    server.start()
    stack.callback(server.stop)
    settings = prepare.complete(settings, server.dsn(), None)
    prepare.prepare_database(settings, folder)
    folder.write_version()
    return settings


def _with_store_of(settings: Settings, running: Running | None) -> Settings:
    """Settings with the store of the running server, or else with an address where no store listens.

    The address without a store is for commands that do not use the store.
    """
    if running is None or running.store_endpoint is None:
        return prepare.complete(settings, None, "http://127.0.0.1:9")
    return dataclasses.replace(
        prepare.complete(settings, None, running.store_endpoint), port=running.port, host=running.host
    )


def with_store(settings: Settings, folder: DataFolder, stack: contextlib.ExitStack) -> Settings:
    """Settings with the embedded store, which is started here and runs until the stack unwinds.

    Raises CommandError when the store does not get ready within PATIENCE seconds.
    """
    listener = listen("127.0.0.1", 0)[0]
    stack.callback(listener.close)
    complete = prepare.complete(settings, None, f"http://127.0.0.1:{listener.getsockname()[1]}")
    folder.objects.mkdir(mode=0o700, exist_ok=True)

    def environment(own: Mapping[str, str]) -> dict[str, str]:
        return child_environment(complete, own)

    child = Child("store", "store", environment, listener.fileno())
    child.start()
    stack.callback(_stop, child)
    if child.ready_fd is None or not select.select([child.ready_fd], [], [], PATIENCE)[0] or not child.hear():
        raise CommandError("the embedded store does not start; its messages above say why.")
    return complete


def _stop(child: Child) -> None:
    if child.process is not None:
        child.send(signal.SIGTERM)
        child.process.wait()
