"""A heartbeat costs the same in a fleet of any size, and touches no index."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.core.clock import EPOCH
from lapel.slices.devices.reports import report_queries
from lapel.slices.heartbeats import queries, service
from lapel.slices.heartbeats.service import Heartbeats
from tests.heartbeats.support import Timed
from tests.support.plans import copy_of, filled_once, indexes_of

# 30,000 bound devices that were heard a minute ago, in 20 of 2,000 worlds; every hundredth has a command and
# an update to hear of, and every tenth has told something of itself.
FILL = """
INSERT INTO organizations VALUES ('org_1', 'x', now());
INSERT INTO projects SELECT 'proj_' || n, 'org_1', 'x', now() FROM generate_series(1, 2000) n;
INSERT INTO worlds (project_id, mode) SELECT 'proj_' || n, 'live' FROM generate_series(1, 2000) n;
INSERT INTO end_users (world_id, id, created_at, updated_at)
    SELECT n % 20 + 1, 'eu_' || n, now(), now() FROM generate_series(1, 30000) n;
INSERT INTO devices (world_id, id, serial_number, model, name, firmware_version, end_user_id,
        binding_generation, battery_percent, storage_used_mb, storage_total_mb, signal_strength_dbm,
        recording_state, created_at, updated_at, last_heartbeat_at, last_seen_at, last_seen_by,
        heartbeat_slot)
    SELECT n % 20 + 1, 'dev_' || n, 's' || n, 'm', 'Desk', '1.4.2', 'eu_' || n, 1, 50, 10, 100, -60,
        '{"device_state": "idle", "pending_recordings": 1, "flags": 8, "connection_type": ["wifi"]}',
        now(), now(), now() - interval '1 minute', now() - interval '1 minute', 'device',
        extract(epoch FROM now())::bigint / 60 - 1
    FROM generate_series(1, 30000) n;
INSERT INTO device_tokens (token_hash, world_id, device_id, binding_generation, state, created_at)
    SELECT sha256(('dev_' || n)::bytea), n % 20 + 1, 'dev_' || n, 1, 'current', now()
    FROM generate_series(1, 30000) n;
INSERT INTO commands (world_id, id, device_id, end_user_id, binding_generation, type, status, params,
        expires_at, created_at)
    SELECT n % 20 + 1, 'cmd_' || n, 'dev_' || n, 'eu_' || n, 1, 'start_recording',
        CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'executed' END, '{}', now() + interval '5 minutes', now()
    FROM generate_series(1, 30000) n;
INSERT INTO firmware_releases (world_id, id, version, model, allow_downgrade, bin_object_key, bin_sha256,
        bin_file_size_bytes, bin_crc32, created_at, updated_at)
    SELECT n % 20 + 1, 'fw_' || n, 'v' || n, 'm', false, 'k' || n, 'x', 1, 'x', now(), now()
    FROM generate_series(1, 4000) n;
INSERT INTO rollouts (world_id, id, firmware_release_id, model, percent, max_failure_rate, deadline_hours,
        status, created_at, updated_at)
    SELECT n % 20 + 1, 'roll_' || n, 'fw_' || n, 'm' || n, 100, 1, 72, 'running', now(), now()
    FROM generate_series(1, 4000) n;
INSERT INTO ota_assignments (world_id, id, device_id, firmware_release_id, status, deadline_at, assigned_at)
    SELECT n % 20 + 1, 'ota_' || n, 'dev_' || n, 'fw_' || (n % 2000 + 2000),
        CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'applied' END, now() + interval '1 day', now()
    FROM generate_series(1, 30000) n;
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, consent_obtained, created_at,
        updated_at)
    SELECT n % 20 + 1, 'rec_' || n, 'eu_' || n, 'dev_' || n,
        CASE WHEN n % 10 < 2 THEN 'pending' ELSE 'uploaded' END, 'device', true, now(), now()
    FROM generate_series(1, 30000) n;
INSERT INTO device_diagnostics (world_id, device_id, event_id, end_user_id, body, received_at)
    SELECT n % 20 + 1, 'dev_' || n, 'e' || n, 'eu_' || n, '{}', now() - interval '1 day'
    FROM generate_series(10, 30000, 10) n;
INSERT INTO full_worlds SELECT id, 1, now() FROM worlds WHERE id > 20;
"""
STORED = {"devices_pkey", "worlds_pkey", "end_users_pkey", "commands", "ota_assignments_open"}
DELIVERING = {"devices_pkey", "commands", "ota_assignments_open", "firmware_releases_pkey", "rollouts_pkey"}
# Of what is open now there is so little that either will do; and an offer is found again by its id.
ALIKE = {
    "commands_open": "commands",
    "commands_expired": "commands",
    "ota_assignments_pkey": "ota_assignments_open",
}
UPDATES = """
SELECT n_tup_upd, n_tup_upd - n_tup_hot_upd, n_tup_newpage_upd
FROM pg_stat_user_tables WHERE relname = 'devices'
"""


fleet = filled_once(FILL)


async def test_every_statement_has_its_indexes(postgres: EmbeddedPostgres, fleet: str) -> None:
    async with copy_of(postgres, fleet) as connection:

        async def used(statement: str, *, may_sort: bool = False) -> set[str]:
            names = await indexes_of(connection, statement, may_sort=may_sort)
            return {ALIKE.get(each, each) for each in names}

        # What the commands' order needs is sorted: there are few of them.
        recording = {"recordings_of_device", "commands_newest", "full_worlds_pkey", "device_diagnostics_pkey"}
        by_token = {"device_tokens_pkey"}
        assert await used(queries.BEAT_OF_DEVICE) == STORED | by_token
        # The rows of one statement are sorted, to be locked in order.
        assert await used(queries.BEATS_OF_DEVICES, may_sort=True) == STORED | by_token
        assert await used(queries.FULL_BEAT_OF_DEVICE, may_sort=True) == STORED | by_token | recording
        assert await used(queries.BEAT_OF_KEY) == STORED
        assert await used(queries.FULL_BEAT_OF_KEY, may_sort=True) == STORED | recording
        assert await used(queries.DELIVER, may_sort=True) == DELIVERING
        assert await used(report_queries.BEGIN_LOW_BATTERY) == {"devices_pkey"}
        assert await used(report_queries.FORGET_REPORTS) == {"devices_pkey"}
        assert await used(report_queries.FIND_SILENT) == {"devices_heard", "worlds_pkey"}
        assert await used(report_queries.BEGIN_OFFLINE) == {"devices_pkey"}
        assert await used(queries.NEXT_DEVICE) == {"device_diagnostics_of_end_user"}
        assert await used(queries.OF_END_USER) == {"device_diagnostics_pkey"}
        assert await used(queries.PRUNE_DIAGNOSTICS) == {"device_diagnostics_by_age"}
        assert await used(queries.DELETE_OF_DEVICES) == {"device_diagnostics_pkey"}
        assert await used(queries.DELETE_OF_END_USER) == {"device_diagnostics_of_end_user"}


def told(minute: int, *, battery: int) -> queries.ReportedState:
    """A full report at that minute since 1970."""
    state = '{"device_state": "idle", "pending_recordings": 1, "flags": 8, "connection_type": ["wifi"]}'
    now = EPOCH + timedelta(minutes=minute)
    facts = queries.ReportedFacts(
        now, battery, 10, 100, -60, "1.4.2", "Desk", state, "idle", None, minute, "wifi"
    )
    return queries.ReportedState(facts, None)


async def updates(connection: asyncpg.Connection[Any]) -> tuple[int, int, int]:
    """How many updates of devices there were, how many touched an index, how many left their page."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    row = await connection.fetchrow(UPDATES)
    assert row is not None
    return row[0], row[1], row[2]


async def test_a_heartbeat_touches_no_index_but_every_ten_minutes(
    postgres: EmbeddedPostgres, fleet: str
) -> None:
    async with copy_of(postgres, fleet) as connection:
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str, format="text")
        start: int = await connection.fetchval("SELECT min(heartbeat_slot) FROM devices")
        assert await updates(connection) == (0, 0, 0)
        sent = 0
        for minute in range(1, 11):
            for number in range(1, 201):
                token = sha256(f"dev_{number}".encode()).digest()
                row = await queries.beat_of_device(
                    connection, token, None, told(start + minute, battery=50 + minute)
                )
                assert row is not None
                sent += 1
        updated, indexed, moved = await updates(connection)
        assert updated == sent == 2000
        # The slot moved once in these minutes. An update also touches the indexes where its page is full,
        # which happens while another session, such as an autovacuum worker, still needs the rows before it.
        assert indexed - moved <= 200 <= indexed
        assert await connection.fetchval("SELECT max(heartbeat_slot) FROM devices") == start + 10


async def test_the_sweep_reads_the_silent_and_few_others(postgres: EmbeddedPostgres, fleet: str) -> None:
    async with copy_of(postgres, fleet) as connection:
        start: int = await connection.fetchval("SELECT min(heartbeat_slot) FROM devices")
        soon = EPOCH + timedelta(minutes=start - 1)
        assert await report_queries.find_silent(connection, 0, start - 1, soon, 10) == []
        later = EPOCH + timedelta(minutes=start + 2)
        assert len(await report_queries.find_silent(connection, start, start + 2, later, 10)) == 10
        assert await report_queries.find_silent(connection, start + 1, start + 2, later, 10) == []


GONE = """
INSERT INTO end_users (world_id, id, created_at, updated_at) VALUES ($1, 'eu_gone', $2, $2)
"""
# Half of them silent for 16 minutes, half not yet, side by side in each of eight slots.
SILENCED = """
INSERT INTO devices (world_id, id, serial_number, model, end_user_id, created_at, updated_at,
        last_heartbeat_at, heartbeat_slot)
SELECT $1, 'dev_' || n, 's' || n, 'm', 'eu_gone', $2, $2,
    $2::timestamptz - make_interval(mins => 14 + n % 2 * 2),
    extract(epoch FROM $2::timestamptz)::bigint / 60 - 16 - n / 2 % 8
FROM generate_series(1, 1600) n
"""
READ = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'devices_heard'"


async def test_a_sweep_in_batches_does_not_read_the_same_again_and_again(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_SWEEP", 20)
    ports, now = timed.live.ports, timed.clock.now()

    async def read() -> int:
        async with ports.database.acquire() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            return await connection.fetchval(READ)

    async with ports.database.acquire() as connection:
        await connection.execute(GONE, timed.device.tenant.test_world, now)
        await connection.execute(SILENCED, timed.device.tenant.test_world, now)
    before = await read()
    assert await timed.live.services[Heartbeats].sweep() == 800
    reads = await read() - before
    assert reads < 10_000  # 6,400; from the beginning each time it is 18,000
