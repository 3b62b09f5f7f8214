"""The errors that a command shows as one sentence without a traceback, and these sentences."""

from __future__ import annotations

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


class CommandError(RuntimeError):
    """A command cannot do its work. The message says why, and what to do."""


_PLAIN = (SettingsError, DataFolderError, AddressInUse, PostgresError, StartFailed, CommandError)


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
    if isinstance(fault, asyncpg.ReadOnlySQLTransactionError):
        return f"the database {ONLY_READS}. Name the primary in LAPEL_DATABASE_URL."
    if is_refusal_of_pooler(fault):
        return (
            "LAPEL_DATABASE_URL names PgBouncer or another pooler: set LAPEL_LISTEN_DATABASE_URL to a "
            'connection past it. See "PgBouncer" in docs/operations.md.'
        )
    if isinstance(fault, DATABASE_AWAY):
        return f"the database does not answer: {redact(words_of_database(fault))}.{more}"
    if isinstance(fault, asyncpg.PostgresError):
        return f"the database refuses a statement: {redact(words_of_database(fault))}.{more}"
    return None
