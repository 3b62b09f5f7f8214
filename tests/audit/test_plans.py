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
INSERT INTO audit_log (world_id, id, actor_kind, actor_id, action, resource_type, resource_id, created_at,
        details_hash)
    SELECT w.id, 'aud_' || n, 'key', 'key_' || n % 500,
           CASE WHEN n % 3 = 0 THEN 'config.updated' ELSE 'x' END,
           CASE WHEN n % 2 = 0 THEN 'device' ELSE 'project' END,
           'dev_' || n % 5000, now() - make_interval(secs => n), 'hash'
    FROM worlds w, generate_series(1, 20000) n;
INSERT INTO audit_details (world_id, entry_id, end_user_id, salt, details)
    SELECT world_id, id, CASE WHEN resource_id < 'dev_1' THEN 'eu_' || resource_id END, 'salt', '{}'
    FROM audit_log;
INSERT INTO audit_chain (world_id, number, entry_id, hash)
    SELECT world_id, row_number() OVER (ORDER BY id), id, 'hash' FROM audit_log;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM worlds w, generate_series(1, 2000) n;
"""
ALSO = {"audit_chain_of_entry", "audit_details_pkey", "end_users_deleted"}


async def test_each_list_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for name, statement in queries.LIST.items():
            index = {"none": "audit_log_newest"}.get(name, f"audit_log_of_{name}")
            assert set(await indexes_of(connection, statement)) == {index} | ALSO
        assert set(await indexes_of(connection, queries.EXPORT)) == {"audit_log_newest"} | ALSO
        assert "audit_details_of_end_user" in await indexes_of(connection, queries.OF_END_USER)
        assert await indexes_of(connection, audit.ERASE_DETAILS) == ["audit_details_of_end_user"]
