"""What is asked of commands stays one walk along an index, however long a device's history is."""

from __future__ import annotations

from lapel.slices.commands import queries, state_queries
from tests.support.plans import filled, indexes_of

# 50,000 commands in one world, half of them of one device. Of those that did not end, nearly all expired.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects VALUES ('proj_1', 'org_1', 'x', now());
INSERT INTO worlds (project_id, mode) VALUES ('proj_1', 'live');
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now() FROM worlds w, generate_series(1, 500) n;
INSERT INTO devices (world_id, id, serial_number, model, end_user_id, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 's' || n, 'm', 'eu_' || n, now(), now()
    FROM worlds w, generate_series(1, 500) n;
INSERT INTO commands (world_id, id, device_id, end_user_id, binding_generation, type, status, params,
        idempotency_key, expires_at, created_at)
    SELECT w.id, 'cmd_' || n, 'dev_' || k.k, 'eu_' || k.k, 1, 'stop_recording',
        (ARRAY['pending', 'delivered', 'executed', 'failed', 'cancelled'])[n % 5 + 1], '{}',
        CASE WHEN n % 2 = 0 THEN 'key ' || n END,
        now() - make_interval(secs => n - 5), now() - make_interval(secs => n)
    FROM worlds w, generate_series(1, 50000) n,
        LATERAL (SELECT CASE WHEN n % 2 = 0 THEN 1 ELSE n % 500 + 1 END AS k) k;
"""


async def test_each_statement_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql, index in (
            (queries.LIST, "commands_newest"),
            (queries.LIST_ENDED, "commands_ended"),
            (queries.LIST_EXPIRED, "commands_expired"),
            (queries.LIST_OPEN, "commands_open"),
        ):
            opened = sql is queries.LIST_OPEN
            assert set(await indexes_of(connection, sql, may_sort=opened)) == {index, "end_users_deleted"}
        devices = await indexes_of(connection, queries.NEXT_DEVICE)
        assert set(devices) == {"commands_of_end_user", "end_users_deleted"}
        assert await indexes_of(connection, queries.COUNT_OPEN) == ["commands_open"]
        keyed = await indexes_of(connection, queries.FIND_BY_KEY)
        assert set(keyed) == {"commands_once", "end_users_deleted"}
        read = await indexes_of(connection, queries.READ)
        assert set(read) == {"commands_pkey", "devices_pkey", "end_users_deleted"}
        assert set(await indexes_of(connection, queries.READ_REPORTED)) == {"commands_pkey", "devices_pkey"}
        assert set(await indexes_of(connection, state_queries.CANCEL)) == {"commands_pkey", "devices_pkey"}
        assert set(await indexes_of(connection, state_queries.REPORT)) == {"commands_pkey", "devices_pkey"}
        opened = await indexes_of(connection, queries.OPEN, may_sort=True)
        assert set(opened) == {"commands_open", "devices_pkey"}
        assert await indexes_of(connection, state_queries.DELIVER) == ["commands_open"]
        assert await indexes_of(connection, state_queries.CANCEL_OPEN) == ["commands_open"]
        assert await indexes_of(connection, queries.DELETE_OF_END_USER) == ["commands_of_end_user"]
        assert await indexes_of(connection, queries.DELETE_ONE) == ["commands_pkey"]
        assert await indexes_of(connection, queries.DELETE_OF_DEVICES) == ["commands_newest"]
