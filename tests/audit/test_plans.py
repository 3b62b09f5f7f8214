"""Lists of the audit log stay one walk along an index, however long it is."""

from __future__ import annotations

from lapel.foundation.database import audit
from lapel.slices.audit import queries
from tests.support.plans import filled, indexes_of

# 50,000 changes of 5,000 devices, and as many of one other kind.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
INSERT INTO audit_log (world_id, id, actor_kind, action, resource_type, resource_id, created_at)
    SELECT w.id, 'aud_' || n, 'key', 'config.updated', CASE WHEN n % 2 = 0 THEN 'device' ELSE 'project' END,
           'dev_' || n % 5000, now() - make_interval(secs => n)
    FROM worlds w, generate_series(1, 100000) n;
"""


async def test_each_list_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        assert await indexes_of(connection, queries.LIST) == ["audit_log_newest"]
        assert await indexes_of(connection, queries.LIST_OF_TYPE) == ["audit_log_of_type"]
        assert await indexes_of(connection, queries.LIST_OF_RESOURCE) == ["audit_log_of_resource"]
        assert await indexes_of(connection, audit.EMPTY_ENTRIES) == ["audit_log_of_resource"]
