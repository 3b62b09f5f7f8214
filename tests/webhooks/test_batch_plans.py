"""Each statement that works on many events or deliveries at once looks them up, however many others exist."""

from __future__ import annotations

import pytest

from lapel.foundation.database import outbox
from lapel.slices.webhooks import queries, waiting_queries
from lapel.slices.webhooks.delivery import fan_out_queries
from lapel.slices.webhooks.delivery.settling import outcome_queries
from lapel.slices.webhooks.records import ending_queries, recovery_queries
from tests.support.plans import filled, indexes_of

# 500 worlds with 20 webhooks each, and 1,000 in the first three. 20 worlds have 2,000 events each, and 10,000
# more of the second world wait for their positions. The first three worlds have 20,000 deliveries each, and
# 500 events that are being erased.
FILL = """
INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'Large', now());
INSERT INTO projects (id, organization_id, name, created_at)
    SELECT 'proj_' || n, 'org_1', 'Large', now() FROM generate_series(1, 500) n;
INSERT INTO worlds (project_id, mode) SELECT 'proj_' || n, 'test' FROM generate_series(1, 500) n;
CREATE TEMPORARY VIEW w AS SELECT id, row_number() OVER (ORDER BY id) AS nth FROM worlds;
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
    SELECT w.id, 'wh_' || n, 'https://a.example/', '{*}', 'enabled', '', now(), now()
    FROM w, generate_series(1, 1000) n WHERE w.nth <= 3 OR n <= 20;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, position, end_user_id, erased)
    SELECT w.id, 'evt_' || n, 'device.bound', 'dev_' || n % 500, n::text, '{}', now(), n, 'eu_' || n % 100,
        w.nth <= 3 AND n > 1500
    FROM w, generate_series(1, 2000) n WHERE w.nth <= 20;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at)
    SELECT w.id, 'evt_new' || n, 'device.bound', 'dev_' || n, 'new' || n, '{}', now()
    FROM w, generate_series(1, 10000) n WHERE w.nth = 2;
INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, due_at,
        created_at)
    SELECT w.id, 'whd_' || m || '_' || n, 'wh_' || m, 'evt_' || n, 'dev_' || n % 500, n,
        CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'succeeded' END, CASE WHEN n % 10 = 0 THEN now() END, now()
    FROM w, generate_series(1, 10) m, generate_series(1, 2000) n WHERE w.nth <= 3;
"""
KEY, OF_EVENT = "webhook_deliveries_pkey", "webhook_deliveries_world_id_event_id_webhook_id_key"
LOOKUPS = [
    (outbox.WAITING, {"events_without_place"}),
    (outbox.PLACE_EVENTS, {"events_pkey"}),
    (outbox.ERASE_WAITING, {"events_of_resource"}),
    (outbox.ERASE_EVENTS, {"events_of_resource"}),
    (outbox.NEXT_WORLD_WITH_ERASED, {"events_erased"}),
    (outbox.LOCK_ERASED, {"events_erased"}),
    (outbox.REMOVE_ERASED, {"events_pkey"}),
    (fan_out_queries.COUNT_SUBSCRIBED, {"webhooks_pkey"}),
    (fan_out_queries.MATCH, {"webhooks_pkey"}),
    (fan_out_queries.INSERT_DELIVERIES, set()),
    (recovery_queries.RECOVER, {OF_EVENT}),
    (recovery_queries.BRING_FORWARD, {"webhook_deliveries_due"}),
    (waiting_queries.PENDING_TYPES, {"webhook_deliveries_due", "events_pkey"}),
    (waiting_queries.PENDING, {"webhook_deliveries_due", "webhooks_pkey"}),
    (queries.RESEND, set()),
    (ending_queries.END_SOME, {"webhook_deliveries_due"}),
    (ending_queries.DELETE_SOME, {"webhook_deliveries_by_age"}),
    (ending_queries.DELETE_SOME_OF_END_USER, {"events_of_end_user", OF_EVENT}),
    (ending_queries.DELETE_SOME_OF_EVENTS, {OF_EVENT}),
    (ending_queries.WITHOUT_DELIVERIES, {OF_EVENT}),
    (outcome_queries.STILL_THERE, {KEY}),
]


@pytest.mark.deep
async def test_each_statement_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        found = {sql: set(await indexes_of(connection, sql, may_sort=True)) for sql, _ in LOOKUPS}
        assert found == dict(LOOKUPS)
