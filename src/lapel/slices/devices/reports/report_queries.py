"""All SQL that stores what devices report with their heartbeats.

The statement of a heartbeat also finds out whether commands or firmware wait for the device, which belong to
other slices. So the slice of heartbeats builds the statement, and this module has the parts of the statement
that are about the device's own row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_rows
from lapel.slices.devices.counting import LOW_BATTERY_PERCENT
from lapel.slices.devices.rows import SilentRow
from lapel.slices.devices.views import UNREPORTED_STATE

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

# An episode of low battery begins below LOW_BATTERY_PERCENT, and ends at this percentage.
CHARGED_PERCENT = 20
# A heartbeat sets `heartbeat_slot` to the present minute if the slot is at least this many minutes old.
_SLOT_MINUTES = 10

# Reports of an earlier binding are about an earlier wearer. An unbound device keeps its reports. In an
# UPDATE, `d` is the row as it was before.
_OF_BINDING = "d.bound_at IS NULL OR d.last_heartbeat_at >= d.bound_at"


def _kept(column: str) -> str:
    """SQL: the value that the device reported before; NULL if that was before its present binding."""
    return f"CASE WHEN {_OF_BINDING} THEN d.{column} END"


# $3 is the present time, and $13 the present minute. `asked` has the reported values (NULL: not reported) and
# the connection of the heartbeat (NULL: unknown). Name and firmware are the device's own. A heartbeat is
# never older than its binding, also if the clock of this server is behind.
_SET = f"""
    last_seen_by = asked.connection,
    battery_percent = coalesce(asked.battery_percent, {_kept("battery_percent")}),
    storage_used_mb = coalesce(asked.storage_used_mb, {_kept("storage_used_mb")}),
    storage_total_mb = coalesce(asked.storage_total_mb, {_kept("storage_total_mb")}),
    signal_strength_dbm = coalesce(asked.signal_strength_dbm, {_kept("signal_strength_dbm")}),
    firmware_version = coalesce(asked.firmware_version, d.firmware_version),
    name = coalesce(asked.name, d.name),
    named_for = CASE WHEN asked.name <> coalesce(d.name, '') THEN d.end_user_id ELSE d.named_for END,
    updated_at = CASE
        WHEN asked.firmware_version <> coalesce(d.firmware_version, '') OR asked.name <> coalesce(d.name, '')
        THEN $3::timestamptz ELSE d.updated_at END,
    recording_state = CASE WHEN asked.recording_state IS NULL THEN {_kept("recording_state")} ELSE coalesce(
        {_kept("recording_state")}, '{UNREPORTED_STATE}') || asked.recording_state::jsonb END,
    client_context = coalesce(asked.client_context::jsonb, {_kept("client_context")}),
    last_heartbeat_at = greatest(d.last_heartbeat_at, $3, d.bound_at),
    last_seen_at = greatest(d.last_seen_at, $3, d.bound_at),
    heartbeat_slot = CASE WHEN d.end_user_id IS NULL THEN NULL
        WHEN $13::integer - d.heartbeat_slot < {_SLOT_MINUTES} THEN d.heartbeat_slot ELSE $13 END,
    offline_since = NULL,
    low_battery_since = CASE WHEN asked.battery_percent >= {CHARGED_PERCENT} THEN NULL
        ELSE {_kept("low_battery_since")} END"""


def store_idle() -> str:
    """The first part of an UPDATE of the device `d`; the reported state is not `recording`."""
    return f"""UPDATE devices d SET {_SET},
    active_since = CASE WHEN asked.device_state IS NULL THEN {_kept("active_since")} END,
    active_recording_id = CASE WHEN asked.device_state IS NULL THEN {_kept("active_recording_id")} END,
    initiated_by = CASE WHEN asked.device_state IS NULL THEN {_kept("initiated_by")} END"""


def store_active(recording: str, remotely: str) -> str:
    """`store_idle` for a device in any state.

    `recording` and `remotely` are SQL expressions: the id of the device's current recording, and whether a
    command made the device record.
    """
    return f"""UPDATE devices d SET {_SET},
    active_since = CASE WHEN asked.device_state IS NULL THEN {_kept("active_since")}
        WHEN asked.device_state = 'recording' THEN coalesce({_kept("active_since")}, $3) END,
    active_recording_id = CASE WHEN asked.device_state IS NULL THEN {_kept("active_recording_id")}
        WHEN asked.device_state = 'recording' THEN {recording} END,
    initiated_by = CASE WHEN asked.device_state IS NULL THEN {_kept("initiated_by")}
        WHEN asked.device_state = 'recording' THEN coalesce(
            {_kept("initiated_by")}, CASE WHEN {remotely} THEN 'remote' ELSE 'local' END) END"""


# The values that one heartbeat reports.
_ONE = """(SELECT $4::integer AS battery_percent, $5::bigint AS storage_used_mb,
    $6::bigint AS storage_total_mb, $7::integer AS signal_strength_dbm, $8::text AS firmware_version,
    $9::text AS name, $10::text AS recording_state, $11::text AS device_state, $12::text AS client_context,
    $14::text AS connection
) AS asked"""

# A device of `devices d` that has the token `t`, and is bound. A concurrent unbinding or binding locks the
# device's row. PostgreSQL checks these conditions again after it has waited for that lock.
_HAS_TOKEN = """d.world_id = t.world_id AND d.id = t.device_id AND d.binding_generation = t.binding_generation
  AND d.end_user_id IS NOT NULL AND d.deleted_at IS NULL"""

# $1: the hash of the device's token. $2: the device's id; NULL: any.
OF_TOKEN = f"""
FROM device_tokens t JOIN worlds w ON w.id = t.world_id CROSS JOIN {_ONE}
WHERE t.token_hash = $1 AND t.state = 'current' AND ($2::text IS NULL OR t.device_id = $2) AND {_HAS_TOKEN}"""

# $1 and $2: the world and the device.
OF_KEY = f"""
FROM worlds w CROSS JOIN {_ONE}
WHERE w.id = d.world_id AND d.world_id = $1 AND d.id = $2 AND d.deleted_at IS NULL"""

# For WITH: several heartbeats, whose tokens are $1 and whose device ids (NULL: any) are $2. Rows are locked
# in the order of the devices, so that two such statements cannot wait for each other. A device whose row
# another transaction has locked is left out, because the other devices must not wait for it. The
# sub-selects hide the lengths of the arrays from the planner, which would otherwise plan each execution
# anew.
SEVERAL = f"""asked AS (
SELECT d.world_id, d.id, reported.* FROM unnest(
    (SELECT $1::bytea[]), (SELECT $2::text[]), (SELECT $4::integer[]), (SELECT $5::bigint[]),
    (SELECT $6::bigint[]), (SELECT $7::integer[]), (SELECT $8::text[]), (SELECT $9::text[]),
    (SELECT $10::text[]), (SELECT $11::text[]), (SELECT $12::text[]), (SELECT $14::text[])
) WITH ORDINALITY AS reported (token_hash, device_id, battery_percent, storage_used_mb, storage_total_mb,
    signal_strength_dbm, firmware_version, name, recording_state, device_state, client_context, connection,
    place)
JOIN device_tokens t ON t.token_hash = reported.token_hash AND t.state = 'current'
    AND (reported.device_id IS NULL OR t.device_id = reported.device_id)
JOIN devices d ON {_HAS_TOKEN}
ORDER BY d.world_id, d.id
FOR NO KEY UPDATE OF d SKIP LOCKED
)"""
OF_SEVERAL = """
FROM asked JOIN worlds w ON w.id = asked.world_id WHERE d.world_id = asked.world_id AND d.id = asked.id"""

# For RETURNING: what an answer needs of the device and of its world.
STORED = f"""d.world_id, d.id, d.serial_number, d.end_user_id, d.binding_generation, d.firmware_version,
    w.project_id, w.mode,
    d.low_battery_since IS NULL AND d.battery_percent < {LOW_BATTERY_PERCENT} AS low_battery"""

# For WITH: `beat` is the device, whose row gets the same lock as in an unbinding. $1 to $3: the world, the
# device and its binding.
LOCKED_BEAT = """beat AS (
SELECT d.world_id, d.id, d.binding_generation, d.active_since, d.active_recording_id FROM devices d
WHERE d.world_id = $1 AND d.id = $2 AND d.binding_generation = $3 AND d.deleted_at IS NULL
FOR NO KEY UPDATE
)"""

# $3: the binding of the heartbeat that reported it. Another binding may have begun since.
BEGIN_LOW_BATTERY = f"""
UPDATE devices SET low_battery_since = $4
WHERE world_id = $1 AND id = $2 AND binding_generation = $3 AND low_battery_since IS NULL
  AND battery_percent < {LOW_BATTERY_PERCENT} AND deleted_at IS NULL
RETURNING id
"""

# $1: the first slot; $2: the last slot; $3: the latest time of a last heartbeat; $4: the most rows.
FIND_SILENT = """
SELECT d.world_id, w.project_id, d.id, d.last_heartbeat_at, d.heartbeat_slot
FROM devices d JOIN worlds w ON w.id = d.world_id
WHERE d.heartbeat_slot BETWEEN $1 AND $2 AND d.offline_since IS NULL AND d.deleted_at IS NULL
  AND d.end_user_id IS NOT NULL AND d.last_heartbeat_at <= $3
ORDER BY d.heartbeat_slot LIMIT $4 FOR NO KEY UPDATE OF d SKIP LOCKED
"""

BEGIN_OFFLINE = """
UPDATE devices SET offline_since = last_heartbeat_at
WHERE world_id = $1 AND id = ANY($2::text[]) AND deleted_at IS NULL
"""

# Erases what heartbeats reported in a binding. Battery, storage, signal and `recording_state` stay for the
# project. The first heartbeat of the next binding erases those that it does not report itself (`_kept`), and
# until then the next wearer does not see them (`views.seen_by`).
FORGET_REPORTS = """
UPDATE devices SET heartbeat_slot = NULL, offline_since = NULL, client_context = NULL,
    active_since = NULL, active_recording_id = NULL, initiated_by = NULL
WHERE world_id = $1 AND id = ANY($2::text[]) AND deleted_at IS NULL
"""


async def begin_low_battery(
    connection: Connection, world_id: int, device_id: str, binding_generation: int, now: datetime
) -> bool:
    """Begin an episode of low battery in a binding. A battery that stays low begins one in each binding.

    False when an episode has begun already, the battery is not low, or a later binding has begun.
    """
    began = await connection.fetchval(BEGIN_LOW_BATTERY, world_id, device_id, binding_generation, now)
    return began is not None


async def find_silent(
    connection: Connection, first_slot: int, last_slot: int, before: datetime, limit: int
) -> list[SilentRow]:
    """Lock the devices that send no heartbeats any more, and return them in the order of `heartbeat_slot`."""
    return await fetch_rows(connection, SilentRow, FIND_SILENT, first_slot, last_slot, before, limit)


async def begin_offline(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Mark devices as offline since their last heartbeat."""
    await connection.execute(BEGIN_OFFLINE, world_id, device_ids)


async def forget_reports(
    connection: Connection, world_id: int, device_ids: list[str], _now: datetime
) -> None:
    """Erase what devices reported in their binding, in the transaction that ends the binding."""
    await connection.execute(FORGET_REPORTS, world_id, device_ids)
