"""However many holds the bucket tells of: those that it does not tell of are found by their index."""

from __future__ import annotations

from lapel.slices.erasure.outside import hold_line_queries
from tests.support.plans import filled, indexes_of

FILL = """
INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'Large', now());
INSERT INTO projects (id, organization_id, name, created_at)
    SELECT 'proj_' || n, 'org_1', 'Large', now() FROM generate_series(1, 5000) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'test' FROM projects;
INSERT INTO holds (world_id, id, resource_type, resource_id, reason, placed_by_kind, created_at, is_told,
        released_at, told_released_at)
    SELECT w.id, 'hold_' || n, 'recording', 'rec_' || n, 'Case 7', 'key', now(), n > 5,
        CASE WHEN n % 2 = 0 THEN now() END, CASE WHEN n % 2 = 0 THEN now() END
    FROM worlds w, generate_series(1, 20000) n WHERE w.project_id = 'proj_1';
"""


async def test_untold_holds_are_found_by_their_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql in (hold_line_queries.FIND_UNTOLD, hold_line_queries.FIND_UNTOLD_OF_ALL):
            found = set(await indexes_of(connection, sql, may_sort=True))
            assert found - {"worlds_pkey"} == {"holds_untold"}, sql
