"""Deletes what has expired: stored answers, old events, rate windows, the queue's log, replaced secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from lapel.foundation.database import row_quota
from lapel.foundation.database.outbox import PRUNE_EVENTS
from lapel.foundation.database.pool import affected
from lapel.foundation.http.rate_limits import PRUNE_WINDOWS
from lapel.foundation.http.strategies.idempotency import KEEP_ANSWERS, PRUNE_ANSWERS
from lapel.foundation.queue.jobs import Schedule
from lapel.foundation.queue.queue_queries import PRUNE_QUEUE_LOG, PRUNE_STARTS, PRUNE_WORKERS
from lapel.slices.webhooks.service import FORGET_SECRETS

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.pool import Database
    from lapel.foundation.ports import Ports
    from lapel.foundation.slices import Services

_BATCH = 5000
# An event has a delivery for each webhook, up to a thousand, with attempts; they are deleted with the event.
_EVENTS = 50

# Each statement has two parameters: the time before which rows are useless, and the number of rows to delete
# at once (the fourth column). The rows to delete are an array, because a join would read the whole table for
# each batch. The deletion of an end user deletes many answers and events too, so rows that another
# transaction has locked are left for the next round. Events come last, because they take longest.
_KEPT = (
    ("answers", PRUNE_ANSWERS, KEEP_ANSWERS, _BATCH),
    ("rate_windows", PRUNE_WINDOWS, timedelta(hours=1), _BATCH),
    ("queue_log", PRUNE_QUEUE_LOG, timedelta(days=7), _BATCH),
    ("job_starts", PRUNE_STARTS, timedelta(days=7), _BATCH),
    ("workers", PRUNE_WORKERS, timedelta(days=1), _BATCH),
    # The row of the webhook stays, without its previous secret. A worker uses that secret by the database's
    # time, and the time here is the worker's own: they may differ.
    ("webhook_secrets", FORGET_SECRETS, timedelta(hours=1), _BATCH),
    ("events", PRUNE_EVENTS, timedelta(days=90), _EVENTS),
)

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def prune(ports: Ports) -> dict[str, int]:
    """Delete expired rows, in batches. Returns the number of deleted rows of each kind.

    Raises Unavailable when the database is unavailable.
    """
    now = ports.clock.now()
    pruned = {
        name: await _prune_one(ports.database, statement, now - kept, batch)
        for name, statement, kept, batch in _KEPT
    }
    if any(pruned.values()):
        _log.info("housekeeping.pruned", **pruned)
    return pruned


async def _prune_one(database: Database, statement: str, before: datetime, batch: int) -> int:
    total = 0
    while True:
        async with database.transaction() as connection:
            deleted = affected(await connection.execute(statement, before, batch))
        total += deleted
        if deleted < batch:
            return total


def schedules(services: Services) -> tuple[Schedule, ...]:
    """The schedules: `prune` runs once an hour, and each world's rows are measured every five minutes."""

    ports = services.ports
    tables = sorted(table.name for table in services.tables if table.grows)

    async def run() -> None:
        await prune(ports)

    async def measure() -> None:
        await row_quota.measure(ports.database, ports.clock, ports.settings.rows_limit, tables)

    return (
        Schedule(name="housekeeping", expression="41 * * * *", handler=run),
        Schedule(name="rows.measure", expression="*/5 * * * *", handler=measure),
    )
