"""Resolving stays a few walks along keys, however many devices have overrides of their own."""

from __future__ import annotations

from lapel.slices.configuration import queries
from lapel.slices.configuration.operator import operator_queries
from lapel.slices.configuration.service import REVISION
from tests.support.plans import filled, indexes_of

# 50,000 devices of 5,000 people, each with overrides; 1,000 organizations with one project each.
FILL = """
INSERT INTO organizations (id, name, created_at)
    SELECT 'org_' || n, 'x', now() FROM generate_series(1, 1000) n;
INSERT INTO projects (id, organization_id, name, created_at)
    SELECT 'proj_' || n, 'org_' || n, 'x', now() FROM generate_series(1, 1000) n;
INSERT INTO worlds (project_id, mode)
    SELECT 'proj_' || n, mode FROM generate_series(1, 1000) n, unnest(ARRAY['live', 'test']) mode;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT w.id, 'eu_' || n, now(), now()
    FROM (SELECT min(id) AS id FROM worlds) w, generate_series(1, 5000) n;
INSERT INTO devices (world_id, id, serial_number, model, end_user_id, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 's' || n, 'm', 'eu_' || (n % 5000 + 1), now(), now()
    FROM (SELECT min(id) AS id FROM worlds) w, generate_series(1, 50000) n;
INSERT INTO config_overrides
    SELECT world_id, 'device', id, section, '{}', 1, now()
    FROM devices, unnest(ARRAY['connection', 'upload']) section;
INSERT INTO config_overrides
    SELECT world_id, 'end_user', id, section, '{}', 1, now()
    FROM end_users, unnest(ARRAY['upload', 'retention']) section;
INSERT INTO config_overrides
    SELECT id, 'project', '', section, '{}', 1, now() FROM worlds, unnest(ARRAY['ota', 'upload']) section;
INSERT INTO organization_config_overrides
    SELECT 'org_' || n, 'live', section, '{}', 1, now()
    FROM generate_series(1, 1000) n, unnest(ARRAY['ota', 'upload']) section;
"""
LEVELS = {"worlds_pkey", "projects_pkey", "organization_config_overrides_pkey", "config_overrides_pkey"}


async def test_every_statement_walks_along_keys(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for statement in (queries.RESOLVE, queries.RESOLVE_SECTION):
            assert set(await indexes_of(connection, statement)) == LEVELS
        of_devices = set(await indexes_of(connection, queries.RESOLVE_SECTION_OF_DEVICES))
        assert of_devices == LEVELS | {"devices_of_end_user"}
        assert set(await indexes_of(connection, queries.RESOLVE_END_USER)) == LEVELS | {"end_users_pkey"}
        assert set(await indexes_of(connection, queries.RESOLVE_DEVICE)) == LEVELS | {"devices_pkey"}
        for statement in (queries.READ_OVERRIDE, queries.DELETE_OVERRIDE, queries.DELETE_OVERRIDES):
            assert await indexes_of(connection, statement) == ["config_overrides_pkey"]
        for statement in (queries.LOCK_DEVICE, queries.RAISE_DEVICES):
            assert await indexes_of(connection, statement) == ["devices_pkey"]
        for statement in (queries.LOCK_END_USER, queries.RAISE_END_USER):
            assert await indexes_of(connection, statement) == ["end_users_pkey"]
        for statement in (queries.LOCK_ORGANIZATION_OF_WORLD, queries.SHARE_ORGANIZATION_OF_WORLD):
            assert set(await indexes_of(connection, statement)) == {"worlds_pkey", "projects_pkey"}
        own = {"projects_by_organization", "worlds_project_id_mode_key"}
        assert set(await indexes_of(connection, operator_queries.LOCK_WORLDS, may_sort=True)) == own
        one = f"""
            SELECT {REVISION} FROM devices d JOIN worlds w ON w.id = d.world_id
            WHERE d.world_id = $1 AND d.id = $2"""
        assert set(await indexes_of(connection, one)) == {"devices_pkey", "worlds_pkey", "end_users_pkey"}
