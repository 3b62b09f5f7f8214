"""How a job is put into the queue."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from lapel.foundation.database.pool import Database
from lapel.foundation.queue.jobs import enqueue
from lapel.foundation.queue.queue_statements import queries
from tests.foundation.queue.workers import Payload

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

ROWS = """
SELECT to_jsonb(j) - 'id' AS job, to_jsonb(l) - ARRAY['id', 'job_id'] AS log
FROM jobs.pgqueuer j JOIN jobs.pgqueuer_log l ON l.job_id = j.id ORDER BY j.id
"""


async def pgqueuer_enqueues(connection: Connection, after: timedelta | None, key: str | None) -> list[Any]:
    """PgQueuer's own call."""
    own = queries(AsyncpgDriver(connection), Queries)
    payload = msgspec.json.encode(Payload("x"))
    return await own.enqueue(["say"], [payload], [0], [after], [key], on_conflict="skip")


@pytest.mark.parametrize("after", [None, timedelta(seconds=90)])
@pytest.mark.parametrize("dedupe", [None, "one"])
async def test_it_is_the_row_that_pgqueuer_would_write(
    database: Database, after: timedelta | None, dedupe: str | None
) -> None:
    key = None if dedupe is None else f"say:{dedupe}"
    async with database.transaction() as connection:  # so the times are the same
        assert await enqueue(connection, "say", Payload("x"), after=after, dedupe=dedupe)
        (ours,) = await connection.fetch(ROWS)
        await connection.execute("DELETE FROM jobs.pgqueuer")
        await pgqueuer_enqueues(connection, after, key)
        (theirs,) = await connection.fetch(ROWS)
    assert dict(ours) == dict(theirs)


async def test_of_jobs_with_the_same_key_one_is_queued_whoever_queues_it(database: Database) -> None:
    async with database.transaction() as connection:
        assert await enqueue(connection, "say", Payload("x"), dedupe="one")
        assert not await enqueue(connection, "say", Payload("y"), dedupe="one")
        assert await pgqueuer_enqueues(connection, None, "say:one") == [None]
        assert await enqueue(connection, "say", Payload("x"), dedupe="another")
        await connection.execute("UPDATE jobs.pgqueuer SET status = 'picked'")
        assert not await enqueue(connection, "say", Payload("x"), dedupe="one")
        await connection.execute("UPDATE jobs.pgqueuer SET status = 'failed'")
        assert await enqueue(connection, "say", Payload("x"), dedupe="one")
