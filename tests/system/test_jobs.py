"""Rows that only time makes useless go, the others stay."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.ports import Ports
from lapel.slices.system import jobs
from tests.support.running import running
from tests.support.tenants import make_tenant

FILL = """
INSERT INTO idempotency_keys
    SELECT 1, 'keys', 'k' || n, '', 200, '', now() - make_interval(hours => 20 + n)
    FROM generate_series(0, 7) n;
INSERT INTO rate_windows SELECT 'b', extract(epoch FROM now())::bigint - 600 * n, 1
    FROM generate_series(1, 10) n;
INSERT INTO jobs.pgqueuer_log (created, job_id, status, priority, entrypoint, aggregated)
    SELECT now() - make_interval(days => n), n, 'successful', 0, 'x', n <> 9 FROM generate_series(1, 10) n;
INSERT INTO job_starts SELECT n, 0, now() - make_interval(days => n) FROM generate_series(1, 10) n;
INSERT INTO workers SELECT 'w' || n, now() - make_interval(hours => 10 * n) FROM generate_series(1, 4) n;
"""

EVENTS = """
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at)
SELECT $1, 'evt_' || n, 'recording.created', 'rec_' || n, n::text, '', now() - make_interval(days => 30 * n)
FROM generate_series(1, 4) n
"""

# One was never rotated; of three others the overlap ended a day ago, two hours ago, and half an hour ago.
WEBHOOKS = """
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, sealed_previous_secret,
    previous_secret_until, created_at, updated_at)
SELECT $1, 'wh_' || n, 'https://example.com', '{*}', 'enabled', 'present',
    CASE WHEN n > 0 THEN 'previous'::bytea END, now() + ends, now(), now()
FROM (VALUES (0, NULL), (1, '-1 day'::interval), (2, '-2 hours'), (3, '-30 minutes')) AS w (n, ends)
"""


@pytest.fixture
async def aged(fresh_database: str, data_folder: Callable[[str], Path]) -> AsyncGenerator[Ports]:
    """Rows of all ages, and a clock that stands still."""
    async with running(data_folder("aged"), fresh_database) as started:
        tenant = await make_tenant(started.ports)
        ports = replace(started.ports, clock=ManualClock(started.ports.clock.now() + timedelta(seconds=30)))
        async with ports.database.acquire() as connection:
            await connection.execute(FILL)
            await connection.execute(EVENTS, tenant.test_world)
            await connection.execute(WEBHOOKS, tenant.test_world)
        yield ports


async def test_what_is_old_goes_and_what_is_young_stays(aged: Ports) -> None:
    expected = {
        "answers": 4,
        "rate_windows": 5,
        "queue_log": 3,
        "job_starts": 4,
        "workers": 2,
        "webhook_secrets": 2,
        "events": 2,
    }
    assert await jobs.prune(aged) == expected
    assert not any((await jobs.prune(aged)).values())
    async with aged.database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 4
        secrets = await connection.fetch("SELECT * FROM webhooks ORDER BY id")
        assert [each["sealed_previous_secret"] for each in secrets] == [None, None, None, b"previous"]
        assert [each["previous_secret_until"] is None for each in secrets] == [True, True, True, False]
        assert {each["sealed_secret"] for each in secrets} == {b"present"}
        # Not folded into the statistics yet.
        assert await connection.fetchval("SELECT count(*) FROM jobs.pgqueuer_log WHERE NOT aggregated") == 1


HOLD = (
    "SELECT 1 FROM idempotency_keys WHERE key = 'k6' FOR UPDATE",
    "SELECT 1 FROM events WHERE id = 'evt_4' FOR UPDATE",
    "SELECT 1 FROM webhooks WHERE id = 'wh_1' FOR UPDATE",
)


async def test_who_holds_what_is_old_is_not_waited_for(aged: Ports) -> None:
    """Deleting an end user takes many rows, too: each could hold what the other wants next."""
    async with aged.database.transaction() as connection:
        for statement in HOLD:
            assert await connection.fetchval(statement) == 1
        pruned = await jobs.prune(aged)
        assert (pruned["answers"], pruned["webhook_secrets"], pruned["events"]) == (3, 1, 1)
    pruned = await jobs.prune(aged)
    assert (pruned["answers"], pruned["webhook_secrets"], pruned["events"]) == (1, 1, 1)
