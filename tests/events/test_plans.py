"""Lists and streams of events stay walks along an index, however many events there are."""

from __future__ import annotations

import pytest

from lapel.foundation.database import outbox
from lapel.slices.events import queries
from tests.support.plans import filled, indexes_of

# 20,000 events in each of five worlds, which are few: a plan must not depend on many worlds. Every 1,000th
# event has the rare type.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 5) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
INSERT INTO end_users (world_id, id, metadata, created_at, updated_at)
    SELECT w.id, 'eu_' || n, '{}', now(), now() FROM worlds w, generate_series(1, 5000) n;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, position)
    SELECT w.id, 'evt_' || n, CASE WHEN n % 1000 = 0 THEN 'ota.failed' ELSE 'recording.created' END,
        'rec_' || n % 5000, n::text, '{}', now() - make_interval(secs => n), n
    FROM worlds w, generate_series(1, 20000) n;
"""


@pytest.mark.deep
async def test_each_list_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for statements in (queries.LIST, queries.LIST_SIZE):
            for kind in ("newest", "from_start"):
                assert await indexes_of(connection, statements[kind]) == [
                    "events_newest",
                    "end_users_deleted",
                ]
            assert await indexes_of(connection, statements["of_types"], may_sort=True) == [
                "events_of_type",
                "end_users_deleted",
            ]
            of_resource = await indexes_of(connection, statements["of_resource"], may_sort=True)
            assert of_resource == ["events_of_resource", "end_users_deleted"]
        assert await indexes_of(connection, queries.READ_STREAM) == ["events_in_order", "end_users_deleted"]
        assert await indexes_of(connection, queries.FIND) == ["events_pkey", "end_users_deleted"]
        assert await indexes_of(connection, queries.SIZE) == ["events_pkey", "end_users_deleted"]
        assert await indexes_of(connection, outbox.PRUNE_EVENTS) == ["events_by_age"]
