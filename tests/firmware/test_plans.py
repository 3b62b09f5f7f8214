"""However large the fleet: what is asked often, or for many devices, reads an index."""

from __future__ import annotations

import pytest

from lapel.slices.firmware import queries
from lapel.slices.firmware.assignments import assignment_queries, assignment_state_queries
from lapel.slices.firmware.rollouts import rollout_queries
from tests.support.plans import filled, indexes_of

# 50,000 devices of one world, with 100,000 assignments behind them: one of fifty is open.
FILL = """
INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'Large', now());
INSERT INTO projects (id, organization_id, name, created_at)
    SELECT 'proj_' || n, 'org_1', 'Large', now() FROM generate_series(1, 3000) n;
INSERT INTO worlds (project_id, mode) SELECT 'proj_' || n, 'test' FROM generate_series(1, 3000) n;
CREATE TEMPORARY VIEW w AS SELECT id FROM worlds WHERE project_id = 'proj_1';
INSERT INTO devices (world_id, id, serial_number, model, firmware_version, created_at, updated_at)
    SELECT w.id, 'dev_' || n, 'S' || n, 'model_' || n % 10, '1.' || n % 7, now(), now()
    FROM w, generate_series(1, 50000) n;
INSERT INTO firmware_releases (world_id, id, version, model, released_at, allow_downgrade, bin_object_key,
        bin_sha256, bin_file_size_bytes, bin_crc32, ufw_object_key, created_at, updated_at)
    SELECT w.id, 'fw_' || n, '1.' || n, 'model_' || n % 10, now(), false, 'firmware/' || n, '', 1, '',
           'ufw/' || n, now() - make_interval(secs => n), now()
    FROM w, generate_series(1, 20000) n;
INSERT INTO rollouts (world_id, id, firmware_release_id, model, percent, max_failure_rate, deadline_hours,
        status, created_at, updated_at)
    SELECT w.id, 'rol_' || n, 'fw_' || n, 'model_' || n % 10, 100, 0.1, 1,
           CASE WHEN n <= 10 THEN 'running' ELSE 'completed' END, now() - make_interval(secs => n), now()
    FROM w, generate_series(1, 5000) n;
INSERT INTO ota_assignments (world_id, id, device_id, firmware_release_id, rollout_id, status, deadline_at,
        assigned_at)
    SELECT w.id, 'ota_' || n, 'dev_' || n % 50000 + 1, 'fw_' || n % 20000 + 1, 'rol_' || n % 5000 + 1,
           CASE WHEN n <= 1000 THEN 'pending' WHEN n <= 2000 THEN 'delivered' ELSE 'applied' END,
           now() + make_interval(secs => n), now() - make_interval(secs => n)
    FROM w, generate_series(1, 100000) n;
"""
RELEASES = {"firmware_releases_pkey"}
OPEN = {"ota_assignments_open"}

LOOKUPS = [
    (queries.FIND_RELEASE, {"firmware_releases_world_id_model_version_key"}),
    (queries.READ_RELEASE, RELEASES),
    (queries.READ_FILES, RELEASES),
    (queries.RELEASE, RELEASES),
    (queries.LIST_RELEASES, {"firmware_releases_newest"}),
    (queries.LIST_RELEASED, {"firmware_releases_of_model"}),
    (queries.READ_SEQUENCE, {"firmware_releases_world_id_model_version_key"}),
    (assignment_queries.NEWEST, {"ota_assignments_newest"} | RELEASES),
    (assignment_queries.HISTORY, {"ota_assignments_newest"} | RELEASES),
    (assignment_state_queries.CANCEL, OPEN),
    (assignment_state_queries.FAIL, OPEN | RELEASES),
    (queries.SERVED, {"firmware_releases_bin_object_key_key", "firmware_releases_ufw_object_key_key"}),
    (rollout_queries.REPLACE, {"rollouts_live"}),
    (rollout_queries.FIND_RUNNING, {"rollouts_live"}),
    (rollout_queries.READ, {"rollouts_of_release", "ota_assignments_of_rollout"}),
    (rollout_queries.COUNT, {"rollouts_pkey", "ota_assignments_of_rollout"}),
    (rollout_queries.LIST, {"rollouts_of_release", "ota_assignments_of_rollout"}),
    (
        assignment_state_queries.WITHDRAW,
        {"rollouts_pkey", "ota_assignments_of_rollout", "ota_assignments_pkey"},
    ),
    (
        assignment_state_queries.OFFER,
        {
            "devices_of_model",
            "devices_pkey",
            "ota_assignments_newest",
            "firmware_releases_world_id_model_version_key",
        },
    ),
    (assignment_state_queries.APPLY, OPEN | RELEASES),
    (assignment_state_queries.EXPIRE, {"ota_assignments_due", "ota_assignments_pkey"} | RELEASES),
    (assignment_state_queries.EXPIRE_OF_DEVICE, OPEN | RELEASES),
]


@pytest.mark.deep
async def test_each_statement_has_its_index(fresh_database: str) -> None:
    async with filled(fresh_database, FILL) as connection:
        for sql, expected in LOOKUPS:
            found = set(await indexes_of(connection, sql, may_sort=True))
            assert found - {"worlds_pkey"} == expected, sql
        # The lists come in their order.
        for sql in (
            queries.LIST_RELEASES,
            queries.LIST_RELEASED,
            assignment_queries.HISTORY,
            rollout_queries.LIST,
        ):
            await indexes_of(connection, sql)
