"""PgQueuer's statements, on our schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pgqueuer.adapters.persistence.qb import (
    DBSettings,
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.queries import Queries
from pgqueuer.types import Channel

if TYPE_CHECKING:
    from pgqueuer.ports.driver import Driver

    from lapel.foundation.database.connection import Connection

Q = TypeVar("Q", bound=Queries)

QUEUE_SCHEMA = DBSettings(db_schema="jobs")
QUEUE_CHANNEL = Channel(QUEUE_SCHEMA.channel)


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
