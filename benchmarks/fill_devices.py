"""A fleet of bound devices with heartbeats, in a database that `fill` made."""

from __future__ import annotations

import asyncpg

from lapel.foundation.identity import seal
from lapel.foundation.identity.tokens import new_token

# The state after an hour of heartbeats: every value was reported before, and the times are spread.
_DEVICES = """
INSERT INTO devices (world_id, id, serial_number, model, name, firmware_version, end_user_id,
    binding_generation, bound_at, battery_percent, storage_used_mb, storage_total_mb, signal_strength_dbm,
    last_heartbeat_at, last_seen_at, last_seen_by, recording_state, heartbeat_slot, created_at, updated_at)
SELECT $1, 'dev_' || lpad(i::text, 24, '0'), 'BENCH' || i, 'bota_pin_4g', 'Device ' || i, '1.4.2',
    'eu_' || lpad((i % $3)::text, 24, '0'), 1, t, 80, 1000, 32000, -67, t, t, 'device',
    '{"device_state": "idle", "pending_recordings": 0, "flags": 8, "connection_type": ["wifi"]}',
    extract(epoch FROM t)::bigint / 60, t, t
FROM generate_series(1, $2::integer) i, LATERAL (SELECT now() - (i % 600) * interval '1 s' AS t) at
"""
_TOKENS = """
INSERT INTO device_tokens (token_hash, world_id, device_id, binding_generation, state, created_at)
SELECT hash, $1, 'dev_' || lpad(i::text, 24, '0'), 1, 'current', now()
FROM unnest($2::bytea[]) WITH ORDINALITY AS token (hash, i)
"""
# The bare sketch's table: the same values, in one row for each device.
_SKETCH = """
CREATE TABLE sketch (
    id text COLLATE "C" PRIMARY KEY, battery_percent integer, storage_used_mb bigint, storage_total_mb bigint,
    signal_strength_dbm integer, firmware_version text, recording_state jsonb, last_heartbeat_at timestamptz
) WITH (fillfactor = 70);
ALTER TABLE sketch OWNER TO lapel;
INSERT INTO sketch SELECT id, battery_percent, storage_used_mb, storage_total_mb, signal_strength_dbm,
    firmware_version, recording_state, last_heartbeat_at FROM devices
"""


async def fill_devices(superuser_dsn: str, secret: str, world_id: int, count: int) -> list[str]:
    """Makes `count` devices and the table `sketch`; gives their tokens, in the order of ids 1 to `count`."""
    hasher = seal.token_hasher(secret, None)
    tokens = [new_token("dtok") for _ in range(count)]
    connection = await asyncpg.connect(superuser_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        people: int = await connection.fetchval(
            "SELECT count(*) FROM end_users WHERE world_id = $1", world_id
        )
        await connection.execute(_DEVICES, world_id, count, people)
        await connection.execute(_TOKENS, world_id, [hasher.hash(token) for token in tokens])
        await connection.execute(_SKETCH)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return tokens
