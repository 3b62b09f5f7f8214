"""Lists of end users stay one walk along an index, however many there are."""

from __future__ import annotations

from lapel.foundation.database import outbox
from lapel.foundation.http.strategies import idempotency
from lapel.slices.end_users import queries
from tests.support.plans import filled, indexes_of

# 50,000 end users in one world; every fifth is deleted.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
INSERT INTO end_users (world_id, id, external_id, created_at, updated_at, deleted_at)
    SELECT w.id, 'eu_' || n, 'u' || n, now() - make_interval(secs => n), now(),
           CASE WHEN n % 5 = 0 THEN now() END
    FROM worlds w, generate_series(1, 50000) n;
INSERT INTO idempotency_keys
        (world_id, principal, key, fingerprint, status, sealed_body, created_at, end_user_id)
    SELECT w.id, CASE WHEN n % 2 = 0 THEN 'keys' ELSE 'device:' || n END, 'k' || n, '', 201, 'x', now(),
           CASE WHEN n % 2 = 0 THEN 'eu_' || n END
    FROM worlds w, generate_series(1, 50000) n;
INSERT INTO end_user_tokens (token_hash, world_id, end_user_id, created_at)
    SELECT int4send(n), w.id, 'eu_' || n, now() FROM worlds w, generate_series(1, 20000) n;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, end_user_id)
    SELECT w.id, 'evt_' || n, 'device.bound', 'dev_' || n, n, '', now(),
        CASE WHEN n % 2 = 0 THEN 'eu_' || n END
    FROM worlds w, generate_series(1, 20000) n;
"""


async def test_each_list_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql in (queries.LIST, queries.LIST_FROM_START):
            assert await indexes_of(connection, sql) == ["end_users_newest"]
        # These sort the one row that they may find.
        assert await indexes_of(connection, queries.LIST_OWN, may_sort=True) == ["end_users_pkey"]
        for sql in (queries.LIST_BY_EXTERNAL_ID, queries.FIND_ID_BY_EXTERNAL_ID):
            assert await indexes_of(connection, sql, may_sort=True) == ["end_users_active_external_id"]
        for sql in (queries.READ, queries.LOCK_AGAINST_DELETION):
            assert await indexes_of(connection, sql) == ["end_users_pkey"]
        assert await indexes_of(connection, idempotency.BLANK) == ["idempotency_keys_of_end_user"]
        assert await indexes_of(connection, idempotency.FORGET) == ["idempotency_keys_pkey"]
        events = await indexes_of(connection, outbox.ERASE_EVENTS_OF_END_USER)
        assert events == ["events_of_end_user"]
        # These sort the events of one end user or resource.
        assert await indexes_of(connection, outbox.OF_END_USER, may_sort=True) == ["events_of_end_user"]
        assert await indexes_of(connection, outbox.OF_RESOURCE, may_sort=True) == ["events_of_resource"]
        assert await indexes_of(connection, queries.READ_TOKEN) == ["end_user_tokens_one_each"]
        found = await indexes_of(connection, idempotency.FIND)
        assert set(found) == {"idempotency_keys_pkey", "end_users_deleted"}
