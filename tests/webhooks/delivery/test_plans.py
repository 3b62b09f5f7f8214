"""However many deliveries wait for a dead webhook: what the engine asks reads few of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import outbox
from lapel.slices.webhooks import waiting_queries
from lapel.slices.webhooks.delivery import claim_queries
from lapel.slices.webhooks.delivery.settling import outcome_queries
from tests.support.plans import copy_of, filled_once, indexes_of

# 1,000 webhooks with a delivery each that is due, one dead webhook with 100,000, and 40,000 that have ended.
FILL = """
INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'Large', now());
INSERT INTO projects (id, organization_id, name, created_at) VALUES ('proj_1', 'org_1', 'Large', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'test');
CREATE TEMPORARY VIEW w AS SELECT id FROM worlds WHERE project_id = 'proj_1';
INSERT INTO end_users (world_id, id, metadata, created_at, updated_at)
    SELECT w.id, 'eu_' || n, '{}', now(), now() FROM w, generate_series(1, 5000) n;
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
    SELECT w.id, 'wh_' || lpad(n::text, 5, '0'), 'https://a.example/', '{*}', 'enabled', '', now(), now()
    FROM w, generate_series(0, 30000) n;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, position)
    SELECT w.id, 'evt_' || n, 'device.bound', 'dev_' || n % 5000, n::text, '{}', now(), n
    FROM w, generate_series(1, 100000) n;
INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, due_at,
        created_at)
    SELECT w.id, 'whd_dead' || n, 'wh_00500', 'evt_' || n, 'dev_' || n % 5000, n, 'pending',
           now() - interval '1 minute' + n * interval '1 us', now()
    FROM w, generate_series(1, 100000) n;
INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, due_at,
        created_at)
    SELECT w.id, 'whd_live' || n, 'wh_' || lpad(n::text, 5, '0'), 'evt_' || n, 'dev_' || n, n, 'pending',
           now(), now()
    FROM w, generate_series(0, 1000) n WHERE n NOT IN (0, 500);
INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, created_at)
    SELECT w.id, 'whd_' || m || '_' || n, 'wh_' || lpad(m::text, 5, '0'), 'evt_' || n, 'dev_' || n % 5000, n,
           'succeeded', now()
    FROM w, generate_series(1, 2) m, generate_series(1, 20000) n WHERE n > 1000;
"""
DUE, KEY, PERSON = "webhook_deliveries_due", "webhook_deliveries_pkey", "end_users_deleted"
LOOKUPS = [
    (outbox.WAITING, {"events_without_place"}),
    (outbox.PLACE_EVENTS, {"events_pkey"}),
    (outbox.WAITING_SECONDS, {"events_without_place"}),
    (claim_queries.VISIT, {DUE, "webhooks_pkey"}),
    (claim_queries.CLAIM, {DUE, "webhook_deliveries_first", KEY, "webhooks_pkey", "events_pkey", PERSON}),
    (waiting_queries.BACKLOG, {DUE, "webhooks_pkey"}),
    (claim_queries.LOCK_PROBES, {"webhooks_pkey"}),
    (claim_queries.TAKE_PROBES, {"webhooks_pkey"}),
    (claim_queries.END_PAUSES, {"webhooks_pkey"}),
    (claim_queries.PAUSED_BY_PROBES, {"webhooks_pkey"}),
    (claim_queries.READ_BODY, {KEY, "webhooks_pkey", "events_pkey", PERSON}),
    (claim_queries.RENEW, {KEY}),
    (claim_queries.RELEASE, {KEY}),
    (outcome_queries.WRITE_OUTCOMES, {KEY}),
    (outcome_queries.LOCK_WEBHOOKS, {"webhooks_pkey"}),
    (outcome_queries.SET_CIRCUITS, {"webhooks_pkey"}),
]


filled = filled_once(FILL)


@pytest.mark.deep
async def test_each_statement_has_its_index(postgres: EmbeddedPostgres, filled: str) -> None:
    async with copy_of(postgres, filled) as connection:
        await each_has_its_index(connection)
        await a_look_reads_few_rows(connection)
        await a_claim_beside_one_hot_resource_reads_few_rows(connection)
        async with a_snapshot(postgres, connection):
            await a_claim_asks_once_for_the_first_delivery_of_the_hot_resource(connection)


# All but ten deliveries of the dead webhook end, and all of most others.
MOST_END = """
UPDATE webhook_deliveries SET state = 'succeeded', due_at = NULL, ended_at = now()
WHERE webhook_id >= 'wh_00040' AND state = 'pending' AND (webhook_id, position) NOT IN (
    SELECT 'wh_00500', n FROM generate_series(99991, 100000) n)
"""
# 20,000 events wait for their positions, and all but ten get them.
MOST_ARE_PLACED = """
UPDATE events SET position = NULL WHERE position > 80000;
UPDATE events SET position = substr(id, 5)::bigint WHERE position IS NULL AND id NOT LIKE 'evt_9999_';
"""


@pytest.mark.deep
async def test_each_statement_keeps_its_index_after_a_backlog(
    postgres: EmbeddedPostgres, filled: str
) -> None:
    """The indexes of rows that wait have many pages for few entries, and the statistics say so."""
    async with copy_of(postgres, filled) as connection:
        async with a_snapshot(postgres, connection):
            await connection.execute(MOST_END)
            await a_claim_passes_by_what_has_ended(connection)
            await connection.execute("ANALYZE webhook_deliveries")
            await each_has_its_index(connection)
            await a_claim_passes_by_what_has_ended(connection)
        await connection.execute(MOST_ARE_PLACED)
        await connection.execute("VACUUM (ANALYZE) webhook_deliveries, events")
        await each_has_its_index(connection)


async def each_has_its_index(connection: asyncpg.Connection[Any]) -> None:
    for sql, expected in LOOKUPS:
        found = set(await indexes_of(connection, sql, may_sort=True))
        assert found - {"worlds_pkey"} == expected, sql


@asynccontextmanager
async def a_snapshot(server: EmbeddedPostgres, connection: asyncpg.Connection[Any]) -> AsyncGenerator[None]:
    """Another session holds a snapshot of the connection's database, as pg_dump does during a backup."""
    name: str = await connection.fetchval("SELECT current_database()")
    holder = await asyncpg.connect(server.dsn(database=name))
    try:
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetchval("SELECT count(*) FROM worlds")
            yield
    finally:
        await holder.close()


async def read_by_a_claim(connection: asyncpg.Connection[Any]) -> tuple[int, int]:
    """How many deliveries of the dead webhook a claim leases, ten at most, and how many pages it reads."""
    visited = await connection.fetch(claim_queries.VISIT, 0, "", 2000)
    (dead,) = [row for row in visited if row["webhook_id"] == "wh_00500"]
    asked = [dead["world_id"]], ["wh_00500"], [10], claim_queries.LEASE, [dead["first_due"]]
    transaction = connection.transaction()
    await transaction.start()
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {claim_queries.CLAIM}", *asked)
    await transaction.rollback()
    plan = json.loads(text)[0]["Plan"]
    return round(plan["Actual Rows"]), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def a_claim_passes_by_what_has_ended(connection: asyncpg.Connection[Any]) -> None:
    """The indexes still have the entries of all deliveries that have ended since the snapshot."""
    leased, pages = await read_by_a_claim(connection)
    assert leased == 10
    assert pages < 2000


async def a_look_reads_few_rows(connection: asyncpg.Connection[Any]) -> None:
    """Beside 100,000 deliveries of the dead webhook, a look and a claim read what they give. Leases change
    rows where they are, without an entry in any index (HOT), as far as their pages have room."""
    counted = (
        "SELECT idx_tup_fetch, n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables"
        " WHERE relname = 'webhook_deliveries'"
    )
    async with connection.transaction():
        visited = await connection.fetch(claim_queries.VISIT, 0, "", 2000)
        assert len(visited) == 1000
        rooms = [[row["world_id"] for row in visited], [row["webhook_id"] for row in visited], [10] * 1000]
        first_due = [row["first_due"] for row in visited]
        claimed = await connection.fetch(claim_queries.CLAIM, *rooms, claim_queries.LEASE, first_due)
        assert len(claimed) == 999 + 10
        read, leased, in_place = await connection.fetchrow(counted) or (0, 0, 0)
        assert read < 10_000
        assert leased == len(claimed)
        assert in_place > 0.9 * leased


async def a_claim_beside_one_hot_resource_reads_few_rows(connection: asyncpg.Connection[Any]) -> None:
    """Nearly all of 100,000 deliveries are of one resource and due first: the claim finds the others."""
    await connection.execute(
        "UPDATE webhook_deliveries SET leased_until = NULL,"
        " resource_id = CASE WHEN position <= 99000 THEN 'dev_3' ELSE resource_id END"
        " WHERE webhook_id = 'wh_00500'"
    )
    await connection.execute("VACUUM webhook_deliveries")
    read = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'webhook_deliveries'"
    async with connection.transaction():
        world: int = await connection.fetchval("SELECT id FROM worlds WHERE project_id = 'proj_1'")
        asked = [world], ["wh_00500"], [100], claim_queries.LEASE, [datetime(2000, 1, 1, tzinfo=UTC)]
        first = await connection.fetch(claim_queries.CLAIM, *asked)
        second = await connection.fetch(claim_queries.CLAIM, *asked)
        assert (len(first), len(second)) == (100, 100)
        positions = [row["position"] for row in (*first, *second)]
        assert len({position for position in positions if position <= 99000}) == 1
        assert await connection.fetchval(read) < 5000


async def a_claim_asks_once_for_the_first_delivery_of_the_hot_resource(
    connection: asyncpg.Connection[Any],
) -> None:
    """The index still has entries of its 50,000 deliveries that have ended since the snapshot."""
    await connection.execute(
        "UPDATE webhook_deliveries SET leased_until = NULL WHERE leased_until IS NOT NULL;"
        "UPDATE webhook_deliveries SET state = 'succeeded', due_at = NULL, ended_at = now()"
        " WHERE webhook_id = 'wh_00500' AND position <= 50000"
    )
    leased, pages = await read_by_a_claim(connection)
    assert leased == 10
    assert pages < 20_000
