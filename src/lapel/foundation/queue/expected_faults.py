"""Which part of the installation is away, as errors of the worker tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lapel.foundation.core.errors import Unavailable
from lapel.foundation.database.pool import DATABASE_AWAY, StatementTimedOut
from lapel.foundation.outages import OUTAGES, STORE_OUTAGES, Outages
from lapel.foundation.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    import structlog


def part_away(error: BaseException, *, of_driver: bool = False) -> Outages | None:
    """The part that is away; None if the error, or an error of a group, says something else.

    `of_driver`: the error comes from code that talks to the database alone, so that a broken connection is
    one to the database.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        parts = [part_away(each, of_driver=of_driver) for each in group.exceptions]
        return None if None in parts else parts[0]
    if isinstance(error, StoreUnavailable):
        return STORE_OUTAGES
    if isinstance(error, StatementTimedOut):  # the database answers others
        return None
    if isinstance(error, Unavailable) or (of_driver and isinstance(error, DATABASE_AWAY)):
        return OUTAGES
    return None


def tell_fault(
    log: structlog.stdlib.BoundLogger,
    event: str,
    error: BaseException,
    *,
    of_driver: bool = False,
    **fields: object,
) -> None:
    """Log an error without its traceback; of those that say that a part is away, one a minute."""
    part = part_away(error, of_driver=of_driver)
    if part is None:
        log.warning(event, error=repr(error), **fields)
    else:
        part.tell(log, event, error, **fields)
