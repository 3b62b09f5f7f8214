"""A statement with `PLANNED_ANEW` is planned for each execution, as test_list_plans.py supposes."""

from __future__ import annotations

from datetime import UTC, datetime

from lapel.slices.recordings.records import list_queries
from tests.support.plans import filled

# 2,000 worlds with two recordings of one end user.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 2000) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects;
INSERT INTO end_users (world_id, id, created_at, updated_at) SELECT id, 'eu_1', now(), now() FROM worlds;
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, recorded_at, consent_obtained,
        created_at, updated_at)
    SELECT w.id, 'rec_' || n, 'eu_1', 'dev_' || n, 'uploaded', 'device', now(), false,
        now() - make_interval(secs => n), now()
    FROM worlds w, generate_series(1, 2) n;
"""


async def test_the_list_of_an_end_user_is_planned_for_each_execution(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        world = await connection.fetchval("SELECT min(id) FROM worlds")
        of_end_user = await connection.prepare(list_queries.LISTS[("end_user_id",)])
        for _ in range(6):  # PostgreSQL chooses at the sixth execution
            found = await of_end_user.fetch(world, datetime.now(UTC), "x", 21, 0, "eu_1")
            assert len(found) == 2
        planned = await connection.fetchval(
            "SELECT custom_plans FROM pg_prepared_statements WHERE name = $1", of_end_user.get_name()
        )
        assert planned == 6
