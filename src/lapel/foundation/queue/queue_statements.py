"""PgQueuer's statements, on our schema.

Importing PgQueuer takes longer than most commands run: jobs.py imports this module for the first job only.
The servers import it at their start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

if TYPE_CHECKING:
    from datetime import timedelta

    from pgqueuer.ports.driver import Driver

    from lapel.foundation.database.connection import Connection

Q = TypeVar("Q", bound=Queries)

QUEUE_SCHEMA = DBSettings(db_schema="jobs")


def queries(driver: Driver, kind: type[Q]) -> Q:
    """PgQueuer's statements, on our schema."""
    return kind(
        driver,
        QueryBuilderEnvironment(QUEUE_SCHEMA),
        QueryQueueBuilder(QUEUE_SCHEMA),
        QuerySchedulerBuilder(QUEUE_SCHEMA),
    )


async def know_status(connection: Connection) -> None:
    """Tell the driver that the status of a job is text: each connection would ask PostgreSQL, which takes it
    seven milliseconds."""
    await connection.set_type_codec(
        QUEUE_SCHEMA.queue_status_type, schema="jobs", encoder=str, decoder=str, format="text"
    )


async def insert_job(
    connection: Connection, entrypoint: str, payload: bytes, after: timedelta | None, dedupe: str | None
) -> bool:
    """Insert a job, unless one with this `dedupe` is waiting or running; returns whether it was inserted."""
    (job_id,) = await queries(AsyncpgDriver(connection), Queries).enqueue(
        [entrypoint], [payload], [0], [after], [dedupe], on_conflict="skip"
    )
    return job_id is not None
