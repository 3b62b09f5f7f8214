"""Keys are found by an index, however many there are."""

from __future__ import annotations

from lapel.slices.projects import queries
from lapel.slices.projects.revocations import revocation_line_queries
from tests.support.plans import filled, indexes_of, steps_of

# 20,000 keys in one world, every other one scoped to one of 200 people.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM worlds w, generate_series(0, 199) n;
INSERT INTO api_keys (world_id, id, secret_hash, kind, hint, scopes, end_user_id, created_at)
    SELECT w.id, 'key_' || n, sha256(n::text::bytea), 'restricted', 'rk', '{}',
           CASE WHEN n % 2 = 0 THEN 'eu_' || (n % 200) END, now() - make_interval(secs => n)
    FROM worlds w, generate_series(1, 20000) n;
"""


async def test_each_list_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        assert await indexes_of(connection, queries.LIST_KEYS) == ["api_keys_newest"]
        assert await indexes_of(connection, queries.LIST_KEYS_OF_END_USER) == ["api_keys_of_end_user"]
        assert await indexes_of(connection, queries.LIST_KEYS_OF_END_USERS) == ["api_keys_of_end_users"]
        # The one world of this database is read as a whole.
        steps = await steps_of(connection, revocation_line_queries.FIND_UNWRITTEN_ENDS)
        assert "api_keys_untold" in {step.get("Index Name") for step in steps}
        assert await indexes_of(connection, queries.READ_KEY) == ["api_keys_pkey"]
