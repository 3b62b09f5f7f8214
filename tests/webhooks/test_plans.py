"""However many webhooks and deliveries there are: each statement of the API reads an index."""

from __future__ import annotations

import pytest

from lapel.slices.webhooks import queries
from lapel.slices.webhooks.records import delivery_queries, ending_queries, recovery_queries
from tests.support.plans import filled, indexes_of

# 100,000 deliveries of one webhook, beside others; few of them are pending.
FILL = """
INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'Large', now());
INSERT INTO projects (id, organization_id, name, created_at)
    SELECT 'proj_' || n, 'org_1', 'Large', now() FROM generate_series(1, 3000) n;
INSERT INTO worlds (project_id, mode) SELECT 'proj_' || n, 'test' FROM generate_series(1, 3000) n;
CREATE TEMPORARY VIEW w AS SELECT id FROM worlds WHERE project_id = 'proj_1';
INSERT INTO end_users (world_id, id, metadata, created_at, updated_at)
    SELECT w.id, 'eu_' || n, '{}', now(), now() FROM w, generate_series(1, 5000) n;
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
    SELECT o.id, 'wh_' || n, 'https://a.example', '{*}', 'enabled', '', now() - make_interval(secs => n),
           now()
    FROM worlds o, generate_series(1, 1000) n WHERE o.id % 1000 = 0 OR o.id = (SELECT id FROM w);
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, position)
    SELECT w.id, 'evt_' || n, 'ota.failed', 'dev_' || n % 500, n, '{}', now() - make_interval(secs => n), n
    FROM w, generate_series(1, 50000) n;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, position)
    SELECT o.id, 'evt_' || n, 'ota.failed', 'dev_' || n, n, '{}', now() - make_interval(secs => n), n
    FROM worlds o, generate_series(1, 10) n WHERE o.id <> (SELECT id FROM w);
INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, attempts,
        due_at, created_at)
    SELECT w.id, 'whd_' || n, CASE WHEN n <= 50000 THEN 'wh_1' ELSE 'wh_' || (n % 10 + 2) END,
           'evt_' || (n % 50000 + 1), 'dev_' || n % 500, n,
           CASE WHEN n % 500 = 0 THEN 'pending' WHEN n % 499 = 0 THEN 'failed' ELSE 'succeeded' END, 1,
           CASE WHEN n % 500 = 0 THEN now() END, now() - make_interval(secs => n)
    FROM w, generate_series(1, 100000) n;
INSERT INTO webhook_attempts (world_id, delivery_id, number, started_at, latency_ms, status)
    SELECT world_id, id, 1, created_at, 5, 200 FROM webhook_deliveries;
"""
ONE, BY_AGE = {"webhooks_pkey"}, {"webhook_deliveries_by_age"}
DELIVERY, ATTEMPTS, EVENT = {"webhook_deliveries_pkey"}, {"webhook_attempts_pkey"}, {"events_pkey"}
PERSON, OF_EVENT = {"end_users_deleted"}, {"webhook_deliveries_world_id_event_id_webhook_id_key"}

LOOKUPS = [
    (queries.READ, ONE),
    (queries.LOCK, ONE),
    (queries.LOCK_WITH_DELIVERIES, ONE),
    (queries.KEEP, ONE),
    (queries.UPDATE, ONE),
    (queries.ROTATE, ONE),
    (queries.FORGET_SECRETS, {"webhooks_previous_secrets"}),
    (queries.DELETE, ONE),
    (queries.LIST_URLS, ONE),
    (queries.DISABLE_OF_KEY, ONE),
    (recovery_queries.BEGIN_RECOVERY, ONE),
    (recovery_queries.COUNT_RECOVERED, ONE),
    (recovery_queries.END_RECOVERY, ONE),
    (recovery_queries.RESUME, ONE | {"webhook_deliveries_due"}),
    (recovery_queries.WORKS, ONE),
    (queries.LIST, {"webhooks_by_age"}),
    (delivery_queries.LIST, BY_AGE | ATTEMPTS | EVENT | PERSON),
    (delivery_queries.LIST_OF_STATE, BY_AGE | ATTEMPTS | EVENT | PERSON),
    (delivery_queries.LIST_OF_EVENT, OF_EVENT | ATTEMPTS | EVENT | PERSON),
    (delivery_queries.READ, DELIVERY | ATTEMPTS | EVENT | ONE | PERSON),
    (delivery_queries.LIST_ATTEMPTS, ATTEMPTS),
    (delivery_queries.REDELIVER, DELIVERY),
    (recovery_queries.LOCK_ENABLED, ONE),
    (queries.SUBSCRIBED, ONE),
    (queries.FIND_PLACED, EVENT | PERSON),
    (recovery_queries.WALK, {"events_newest"} | PERSON),
    (ending_queries.DELETE_WEBHOOK, ONE),
    (ending_queries.LOCK_DISABLED, ONE),
]


@pytest.mark.deep
async def test_each_statement_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql, expected in LOOKUPS:
            assert set(await indexes_of(connection, sql, may_sort=True)) == expected, sql
        # The lists come in their order, that of all states as three parts that are merged.
        for sql in (queries.LIST, recovery_queries.WALK, delivery_queries.LIST_ATTEMPTS):
            await indexes_of(connection, sql)
        for sql in (delivery_queries.LIST, delivery_queries.LIST_OF_STATE):
            begin = sql.index("SELECT * FROM (" if sql is delivery_queries.LIST else "SELECT v.*")
            chosen = sql[begin : sql.index(") d ")]
            await indexes_of(connection, chosen)
