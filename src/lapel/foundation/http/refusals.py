"""Turns any exception into the error that a client gets."""

from __future__ import annotations

import asyncpg
import structlog

from lapel.foundation.core.errors import ApiError, InternalError, Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.outages import OUTAGES
from lapel.foundation.storage.errors import StoreUnavailable

AGAIN = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""Errors after which the work runs once more: a schema change made a cached statement invalid, or the
transaction lost against another transaction (deadlock, serialization)."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def classify(error: Exception) -> ApiError:
    """The error that a client gets for any exception; a fault of the server is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreUnavailable):
        _log.warning("store.away", error=str(error))
        return Unavailable("The object store does not answer. Repeat the request.", retry_after=2)
    if isinstance(error, DATABASE_AWAY):
        OUTAGES.tell(_log, "database.away", error)
        return Unavailable("The connection to the database broke. Repeat the request.")
    if isinstance(error, (*AGAIN, asyncpg.LockNotAvailableError)):
        return Unavailable("Another request changed the same data at the same moment. Repeat the request.")
    if isinstance(error, asyncpg.InsufficientResourcesError):
        _log.error("database.full", error=str(error))
        return Unavailable("The database has no room. Repeat the request later.", retry_after=60)
    _log.error("request.failed", exc_info=error)
    return InternalError("The server failed. Its log has the details under this request id.")
