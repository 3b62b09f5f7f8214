"""The errors that a command shows as one sentence without a traceback, and these sentences."""

from __future__ import annotations

import asyncpg

from lapel.embedded.postgres.install import PostgresError
from lapel.foundation.core.errors import ApiError, NotFound
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.storage.errors import StoreUnavailable
from lapel.foundation.telemetry import redact
from lapel.hosting.data_folder import DataFolderError
from lapel.hosting.listener import AddressInUse
from lapel.hosting.tree import StartFailed
from lapel.setting_fields import SettingsError


class CommandError(RuntimeError):
    """A command cannot do its work. The message says why, and what to do."""


_PLAIN = (SettingsError, DataFolderError, AddressInUse, PostgresError, StartFailed, CommandError)


def explain(fault: BaseException) -> str | None:
    """One sentence for an error that the operator can repair; None for a defect, which needs a traceback."""
    if isinstance(fault, _PLAIN):
        return str(fault)
    if isinstance(fault, NotFound) and fault.param in ("project_id", "organization_id"):
        return f"{fault.message} `lapel projects list` shows them."
    if isinstance(fault, ApiError):
        return fault.message
    if isinstance(fault, StoreUnavailable):
        return f"the store does not answer: {redact(str(fault))}. `lapel doctor` says more."
    if isinstance(fault, OSError) and fault.filename is not None:  # a file; connections have no name
        return f"{fault.filename}: {fault.strerror}. Name another path, or repair this one."
    if isinstance(fault, (*DATABASE_AWAY, asyncpg.PostgresError)):
        shown = f"{type(fault).__name__}: {redact(str(fault))}"
        return f"the database does not answer ({shown}). `lapel doctor` says more."
    return None
