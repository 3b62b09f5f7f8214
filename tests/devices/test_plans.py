"""Lists of devices stay one walk along an index, however many there are, of this world or of others."""

from __future__ import annotations

from lapel.slices.devices import queries
from lapel.slices.devices.tokens import token_queries
from tests.support.plans import filled, indexes_of

# 50,000 devices in one world; every tenth is unbound, the others belong to 450 people. Some made recordings.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM worlds w, generate_series(1, 450) n;
INSERT INTO devices (world_id, id, serial_number, model, end_user_id, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 's' || n, 'm', CASE WHEN n % 10 > 0 THEN 'eu_' || (n % 450 + 1) END,
           now() - make_interval(secs => n), now()
    FROM worlds w, generate_series(1, 50000) n;
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, consent_obtained, created_at,
        updated_at)
    SELECT w.id, 'rec_' || n, 'eu_' || (n % 450 + 1), 'dev_' || n, 'pending', 'device', true, now(), now()
    FROM worlds w, generate_series(1, 5000) n;
"""


async def test_each_list_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql in (queries.LISTS["all"], queries.LIST_FROM_START):
            assert await indexes_of(connection, sql) == ["devices_newest"]
        for name in queries.LISTS.keys() - {"all"}:
            assert await indexes_of(connection, queries.LISTS[name]) == [f"devices_{name}"]
        for sql in (
            queries.READ_CLIENT_CONTEXT,
            queries.UPDATE,
            queries.DELETE,
            queries.BIND,
            queries.UNBIND,
            queries.SYNCED,
            token_queries.LOCK,
            queries.LOCK_SETTINGS,
            queries.LOCK_TO_DELETE,
        ):
            assert await indexes_of(connection, sql) == ["devices_pkey"]
        for read in (queries.READ, queries.READ_ONE):
            assert set(await indexes_of(connection, read)) == {"devices_pkey", "recordings_pkey"}
        assert await indexes_of(connection, queries.COUNTS_OF_END_USER) == ["devices_of_end_user"]
        assert await indexes_of(connection, queries.READ_BY_SERIAL) == ["devices_active_serial_number"]


# 20 worlds with 2,000 devices each.
FILL_WORLDS = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 20) n;
INSERT INTO worlds (project_id, mode) SELECT 'proj_' || n, 'live' FROM generate_series(1, 20) n;
INSERT INTO devices (world_id, id, serial_number, model, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 's' || n, 'm', now() - make_interval(secs => n), now()
    FROM worlds w, generate_series(1, 2000) n;
"""


async def test_a_fleet_is_counted_without_reading_the_others(fresh_database: str) -> None:
    async with filled(fresh_database, FILL_WORLDS) as connection:
        # Whichever of those that begin with the world.
        assert await indexes_of(connection, queries.COUNTS)
