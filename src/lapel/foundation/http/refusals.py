"""Turns any exception into the error that a client gets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import asyncpg
import structlog

from lapel.foundation.core.errors import ApiError, InternalError, Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY
from lapel.foundation.outages import OUTAGES
from lapel.foundation.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

AGAIN = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""Errors after which the work runs once more: a schema change made a cached statement invalid, or the
transaction lost against another transaction (deadlock, serialization)."""

_ID = re.compile(r"(?P<prefix>[a-z]+)_[A-Za-z0-9]{1,64}\Z")
_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def id_of_another_kind(prefixes: Mapping[str, str], given: Iterable[tuple[str, object]]) -> str:
    """Names the first value that is an id of another kind than its name says; empty if there is none.

    Only prefixes are compared, so nothing is said of what exists. `prefixes`: of the ids under each name.
    """
    nouns: dict[str, str] = {}
    for name, prefix in prefixes.items():
        nouns.setdefault(prefix, name.removesuffix("_id").replace("_", " "))
    for name, value in given:
        own = prefixes.get(name)
        found = _ID.match(value) if isinstance(value, str) else None
        noun = None if own is None or found is None else nouns.get(found["prefix"])
        if noun is not None and found is not None and found["prefix"] != own:
            return f" `{name}` has the id of {'an' if noun[0] in 'aeiou' else 'a'} {noun}."
    return ""


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
