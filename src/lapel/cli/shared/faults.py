"""The errors that a command shows as one sentence without a traceback, and these sentences."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import asyncpg

from lapel.embedded.postgres.install import PostgresError
from lapel.foundation.core.disk_guard import is_disk_full
from lapel.foundation.core.errors import ApiError, NotFound, words_of, words_of_database
from lapel.foundation.database.connection import ONLY_READS
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.database.time_limits import is_refusal_of_pooler
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.foundation.telemetry import redact
from lapel.hosting.data_folder import DataFolderError
from lapel.hosting.sockets import AddressInUse
from lapel.hosting.tree import StartFailed
from lapel.setting_fields import SettingsError

if TYPE_CHECKING:
    from collections.abc import Generator

    from lapel.settings import Settings

# The note of an error of a connection that leads past a pooler.
_DIRECT = "LAPEL_LISTEN_DATABASE_URL"


class CommandError(RuntimeError):
    """A command cannot do its work. The message says why, and what to do."""


_PLAIN = (SettingsError, DataFolderError, AddressInUse, PostgresError, StartFailed, CommandError)


@contextlib.contextmanager
def direct_url(settings: Settings) -> Generator[str]:
    """The URL for a connection that a pooler would break, for the block that uses it.

    If an error of the database ends the block, `explain` names the setting that has this URL.
    """
    try:
        yield str(settings.listen_database_url or settings.database_url)
    except (asyncpg.PostgresError, *DATABASE_AWAY) as fault:
        if settings.listen_database_url is not None:
            fault.add_note(_DIRECT)
        raise


def explain(fault: BaseException, *, in_doctor: bool = False) -> str | None:
    """One sentence for an error that the operator can repair; None for a defect, which needs a traceback.

    `in_doctor`: the sentence does not advise `lapel doctor`.
    """
    more = "" if in_doctor else " `lapel doctor` says more."
    if isinstance(fault, _PLAIN):
        return str(fault)
    if isinstance(fault, NotFound) and fault.param in ("project_id", "organization_id"):
        return f"{fault.message} `lapel projects list` shows them."
    if isinstance(fault, ApiError):
        return fault.message
    if isinstance(fault, StoreUnavailable):
        return f"the store does not answer: {redact(str(fault))}.{more}"
    if isinstance(fault, OSError) and fault.filename is not None:  # a file; connections have no name
        return f"{fault.filename}: {fault.strerror}. Name another path, or repair this one."
    if isinstance(fault, OSError) and is_disk_full(fault):  # an open file has no name either
        why = words_of(fault)
        return f"a file or the output could not be written: {why}. Make room, or write elsewhere."
    return _explain_database(fault, more)


def database_setting(fault: BaseException) -> str:
    """The setting with the URL of the database that failed."""
    return _DIRECT if _DIRECT in getattr(fault, "__notes__", ()) else "LAPEL_DATABASE_URL"


def _explain_database(fault: BaseException, more: str) -> str | None:
    name = database_setting(fault)
    is_direct = name == _DIRECT
    database = f"the database of {_DIRECT}" if is_direct else "the database"
    if isinstance(fault, asyncpg.ReadOnlySQLTransactionError):
        return f"{database} {ONLY_READS}. Name the primary in {name}."
    if is_refusal_of_pooler(fault):
        remedy = "let it name PostgreSQL itself" if is_direct else f"set {_DIRECT} to a connection past it"
        return f'{name} names PgBouncer or another pooler: {remedy}. See "PgBouncer" in docs/operations.md.'
    if isinstance(fault, DATABASE_AWAY):
        return f"{database} does not answer: {redact(words_of_database(fault))}.{more}"
    if isinstance(fault, asyncpg.PostgresError):
        return f"{database} refuses a statement: {redact(words_of_database(fault))}.{more}"
    return None
