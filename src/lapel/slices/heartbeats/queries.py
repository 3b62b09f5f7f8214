"""All SQL of heartbeats.

A heartbeat is one statement, and a second one when something waits for the device. The only indexed column
that it changes is `heartbeat_slot`, every ten minutes. So PostgreSQL writes the row's new version beside the
old one and touches no index (heap-only tuples: src/backend/access/heap/README.HOT in its source).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lapel.slices.commands.service import COMMAND, SHOWN_DONE
from lapel.slices.configuration.service import REVISION
from lapel.slices.devices.service import LOW_BATTERY_PERCENT, UNREPORTED_STATE
from lapel.slices.firmware.service import OPEN_OFFER

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from lapel.foundation.database.connection import Connection

# An episode of low battery begins below LOW_BATTERY_PERCENT and ends here.
CHARGED_PERCENT = 20
# A row's slot is this many minutes old at most while heartbeats come.
_SLOT_MINUTES = 10

# Bytes of an event's row beside its text.
_EVENT_ROW_BYTES = 128

# Each statement adds its own condition for the device. $3 is the present time; $4 to $12 are NULL where the
# heartbeat does not report the value; $14 is the connection that it came through, NULL when unknown.
_SET = f"""
    last_seen_by = $14::text,
    battery_percent = coalesce($4::integer, d.battery_percent),
    storage_used_mb = coalesce($5::bigint, d.storage_used_mb),
    storage_total_mb = coalesce($6::bigint, d.storage_total_mb),
    signal_strength_dbm = coalesce($7::integer, d.signal_strength_dbm),
    firmware_version = coalesce($8::text, d.firmware_version),
    name = coalesce($9::text, d.name),
    named_for = CASE WHEN $9 <> coalesce(d.name, '') THEN d.end_user_id ELSE d.named_for END,
    updated_at = CASE WHEN $8 <> coalesce(d.firmware_version, '') OR $9 <> coalesce(d.name, '')
        THEN $3::timestamptz ELSE d.updated_at END,
    recording_state = CASE WHEN $10::jsonb IS NULL THEN d.recording_state ELSE coalesce(
        d.recording_state, '{UNREPORTED_STATE}') || $10 END,
    client_context = coalesce($12::jsonb, d.client_context),
    last_heartbeat_at = greatest(d.last_heartbeat_at, $3),
    last_seen_at = greatest(d.last_seen_at, $3),
    heartbeat_slot = CASE WHEN d.end_user_id IS NULL THEN NULL
        WHEN $13::integer - d.heartbeat_slot < {_SLOT_MINUTES} THEN d.heartbeat_slot ELSE $13 END,
    offline_since = NULL,
    low_battery_since = CASE WHEN $4 >= {CHARGED_PERCENT} THEN NULL ELSE d.low_battery_since END"""

# $11 is a state in which nothing is recorded.
_IDLE = """,
    active_since = CASE WHEN $11::text IS NULL THEN d.active_since END,
    active_recording_id = CASE WHEN $11 IS NULL THEN d.active_recording_id END,
    initiated_by = CASE WHEN $11 IS NULL THEN d.initiated_by END"""

# $11 is any state. The device's current recording belongs to its end user and has no end yet, and its row was
# created about when it began. It is `remote` if a command to record was delivered or executed since the
# heartbeat before, else `local`.
_ACTIVE = """,
    active_since = CASE WHEN $11::text IS NULL THEN d.active_since
        WHEN $11 = 'recording' THEN coalesce(d.active_since, $3) END,
    active_recording_id = CASE WHEN $11 IS NULL THEN d.active_recording_id
        WHEN $11 = 'recording' THEN (
            SELECT r.id FROM recordings r
            WHERE r.world_id = d.world_id AND r.device_id = d.id AND r.end_user_id = d.end_user_id
              AND r.binding_generation = d.binding_generation
              AND r.status = 'pending' AND r.ended_at IS NULL
              AND r.created_at > coalesce(d.active_since, $3) - interval '5 minutes'
            ORDER BY r.created_at DESC, r.id DESC LIMIT 1) END,
    initiated_by = CASE WHEN $11 IS NULL THEN d.initiated_by
        WHEN $11 = 'recording' THEN coalesce(d.initiated_by, CASE WHEN EXISTS (
            SELECT 1 FROM commands c
            WHERE c.world_id = d.world_id AND c.device_id = d.id AND c.created_at > $3 - interval '25 hours'
              AND c.binding_generation = d.binding_generation
              AND c.type = 'start_recording' AND c.status IN ('delivered', 'executed')
              AND greatest(c.delivered_at, c.executed_at) >= coalesce(d.last_heartbeat_at, '-infinity'))
            THEN 'remote' ELSE 'local' END) END"""

# `waiting`: commands or an offer wait for the device; then HEAR reads them. They are not in this statement,
# because PostgreSQL opens and locks all tables of a statement each time, and nearly all heartbeats have
# nothing waiting.
_RETURNING = f"""
RETURNING d.world_id, d.id, d.serial_number, d.end_user_id, d.binding_generation, d.firmware_version,
    w.project_id, w.mode, {REVISION} AS config_revision,
    d.low_battery_since IS NULL AND d.battery_percent < {LOW_BATTERY_PERCENT} AS low_battery,
    EXISTS (SELECT 1 FROM commands c
        WHERE c.world_id = d.world_id AND c.device_id = d.id AND c.status IN ('pending', 'delivered')
          AND c.expires_at > $3)
    OR EXISTS (SELECT 1 FROM ota_assignments a
        WHERE a.world_id = d.world_id AND a.device_id = d.id AND a.status IN ('pending', 'delivered')
          AND a.deadline_at > $3) AS waiting"""
_RETURNING_TOO = f"{_RETURNING}, d.diagnostics_taken"

# The daily limit of a device's diagnostics: $18 is the day (days since 1970), $19 the bytes that it may add
# in one day, 0: any number. The new events of a heartbeat are stored all or none. A world that has too many
# rows (foundation/database/row_quota.py) stores none.
_USED = "CASE WHEN d.diagnostics_day = $18::integer THEN coalesce(d.diagnostics_bytes, 0) ELSE 0 END"
_NEW = f"""(SELECT coalesce(sum(octet_length(event.body) + {_EVENT_ROW_BYTES}), 0)
    FROM unnest($16::text[], $17::text[]) AS event (id, body)
    WHERE NOT EXISTS (SELECT 1 FROM device_diagnostics k
        WHERE k.world_id = d.world_id AND k.device_id = d.id AND k.event_id = event.id))"""
_TAKEN = f"""(($19::bigint = 0 OR {_USED} + {_NEW} <= $19)
        AND NOT EXISTS (SELECT 1 FROM full_worlds f WHERE f.world_id = d.world_id))"""
_COUNTED = f""",
    diagnostics_day = $18, diagnostics_taken = {_TAKEN},
    diagnostics_bytes = {_USED} + CASE WHEN {_TAKEN} THEN {_NEW} ELSE 0 END"""

# Events that are not taken now may be stored already; the answer names those each time.
_KEPT = """, kept AS (
    INSERT INTO device_diagnostics
        (world_id, device_id, event_id, end_user_id, schema_version, body, received_at)
    SELECT beat.world_id, beat.id, event.id, beat.end_user_id, $15::integer, event.body::jsonb, $3
    FROM beat CROSS JOIN unnest($16::text[], $17::text[]) AS event (id, body)
    WHERE beat.diagnostics_taken
    ON CONFLICT (world_id, device_id, event_id) DO NOTHING
)
SELECT beat.*, CASE WHEN NOT beat.diagnostics_taken THEN (
    SELECT array_agg(k.event_id) FROM device_diagnostics k
    WHERE k.world_id = beat.world_id AND k.device_id = beat.id AND k.event_id = ANY($16)) END AS stored_before
FROM beat"""

# $1: the hash of the device's token; $2: the device's id, NULL: any. A concurrent unbinding or binding locks
# the device's row; PostgreSQL checks these conditions again after it has waited for that lock.
_OF_DEVICE = """
FROM device_tokens t JOIN worlds w ON w.id = t.world_id
WHERE t.token_hash = $1 AND t.state = 'current' AND ($2::text IS NULL OR t.device_id = $2)
  AND d.world_id = t.world_id AND d.id = t.device_id AND d.binding_generation = t.binding_generation
  AND d.end_user_id IS NOT NULL AND d.deleted_at IS NULL"""

# $1 and $2: the world and the device.
_OF_KEY = """
FROM worlds w WHERE w.id = d.world_id AND d.world_id = $1 AND d.id = $2 AND d.deleted_at IS NULL"""

# Two statements each, because every execution pays for all that a statement could do. The short one is for
# nearly all heartbeats, the full one for a device that records or sends diagnostic events ($15 to $19).
BEAT_OF_DEVICE = f"UPDATE devices d SET {_SET}{_IDLE}{_OF_DEVICE}{_RETURNING}"
BEAT_OF_KEY = f"UPDATE devices d SET {_SET}{_IDLE}{_OF_KEY}{_RETURNING}"
FULL_BEAT_OF_DEVICE = f"""
WITH beat AS (UPDATE devices d SET {_SET}{_ACTIVE}{_COUNTED}{_OF_DEVICE}{_RETURNING_TOO}){_KEPT}"""
FULL_BEAT_OF_KEY = f"""
WITH beat AS (UPDATE devices d SET {_SET}{_ACTIVE}{_COUNTED}{_OF_KEY}{_RETURNING_TOO}){_KEPT}"""

_DONE = SHOWN_DONE.format(state="$5::text", pending="$6::bigint")


def _time(moment: str) -> str:
    """SQL that writes a time as answers do."""
    return f"""to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


_STARTED, _STOPPED = _time("beat.active_since"), _time("$4::timestamptz")

# $1 to $3: the world, the device and the binding of the heartbeat; $4: the present time; $5 and $6: the state
# and the number of waiting recordings that it reports, or NULL. One UPDATE marks commands as executed that
# the heartbeat shows to be done, and the others as delivered. The device's row is locked, as unbinding locks
# it. When another request ends a command or an offer at the same moment, its own row decides.
HEAR = f"""
WITH beat AS (
    SELECT d.world_id, d.id, d.binding_generation, d.active_since, d.active_recording_id FROM devices d
    WHERE d.world_id = $1 AND d.id = $2 AND d.binding_generation = $3 AND d.deleted_at IS NULL
    FOR NO KEY UPDATE
), told AS (
    UPDATE commands c SET delivered_at = coalesce(c.delivered_at, $4), inferred = {_DONE},
        status = CASE WHEN {_DONE} THEN 'executed' ELSE 'delivered' END,
        executed_at = CASE WHEN {_DONE} THEN $4 END,
        result = CASE WHEN {_DONE} THEN CASE c.type
            WHEN 'start_recording' THEN
                jsonb_build_object('recording_id', beat.active_recording_id, 'started_at', {_STARTED})
            WHEN 'stop_recording' THEN jsonb_build_object('stopped_at', {_STOPPED}) END END
    FROM beat
    WHERE c.world_id = beat.world_id AND c.device_id = beat.id AND c.status IN ('pending', 'delivered')
      AND c.expires_at > $4 AND c.binding_generation = beat.binding_generation
    RETURNING {COMMAND}
), offer AS (
    SELECT o.* FROM beat CROSS JOIN LATERAL ({
    OPEN_OFFER.format(world_id="beat.world_id", device_id="beat.id", now="$4")
}) o
), offered AS (
    UPDATE ota_assignments a SET status = 'delivered', delivered_at = coalesce(a.delivered_at, $4)
    FROM offer
    WHERE a.world_id = offer.world_id AND a.id = offer.assignment_id AND a.status IN ('pending', 'delivered')
    RETURNING a.id
)
SELECT (SELECT jsonb_agg(to_jsonb(told) ORDER BY told.created_at, told.id) FROM told
        WHERE told.status = 'delivered') AS commands,
    (SELECT to_jsonb(offer) FROM offer WHERE offer.assignment_id IN (SELECT offered.id FROM offered)) AS offer
"""

BEGIN_LOW_BATTERY = f"""
UPDATE devices SET low_battery_since = $3
WHERE world_id = $1 AND id = $2 AND low_battery_since IS NULL AND battery_percent < {LOW_BATTERY_PERCENT}
  AND deleted_at IS NULL
RETURNING id
"""

# $1: the first slot; $2: the last slot; $3: devices whose last heartbeat is not after this time; $4: how many
# at once.
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

PRUNE_DIAGNOSTICS = """
DELETE FROM device_diagnostics WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM device_diagnostics WHERE received_at < $1 ORDER BY received_at LIMIT $2
    FOR UPDATE SKIP LOCKED))
"""

# What heartbeats reported in a binding. The numbers (battery, storage, …) are the device's own and stay.
FORGET_BINDING = """
UPDATE devices SET heartbeat_slot = NULL, offline_since = NULL, client_context = NULL,
    active_since = NULL, active_recording_id = NULL, initiated_by = NULL
WHERE world_id = $1 AND id = ANY($2::text[]) AND deleted_at IS NULL
"""

DELETE_OF_DEVICES = "DELETE FROM device_diagnostics WHERE world_id = $1 AND device_id = ANY($2::text[])"

DELETE_OF_END_USER = """
WITH held AS MATERIALIZED (
    SELECT ctid FROM device_diagnostics WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE
), gone AS (
    DELETE FROM device_diagnostics WHERE ctid = ANY(ARRAY(SELECT ctid FROM held)) AND world_id = $1
)
SELECT count(*) FROM held
"""


@dataclass(frozen=True, slots=True)
class ReportedState:
    """What a heartbeat reports: parameters $3 to $14, and $15 to $19 if it needs the full statement."""

    facts: tuple[object, ...]
    diagnostics: tuple[int | None, list[str], list[str], int, int] | None


async def beat_of_device(
    connection: Connection, token_hash: bytes, device_id: str | None, told: ReportedState
) -> asyncpg.Record | None:
    """Store the heartbeat of the device that has this token. None when there is none, or not `device_id`.

    The row has the columns of `_RETURNING`.
    """
    if told.diagnostics is None:
        return await connection.fetchrow(BEAT_OF_DEVICE, token_hash, device_id, *told.facts)
    return await connection.fetchrow(
        FULL_BEAT_OF_DEVICE, token_hash, device_id, *told.facts, *told.diagnostics
    )


async def beat_of_key(
    connection: Connection, world_id: int, device_id: str, told: ReportedState
) -> asyncpg.Record | None:
    """Store the heartbeat of a device of the world, as `beat_of_device`. None when there is none."""
    if told.diagnostics is None:
        return await connection.fetchrow(BEAT_OF_KEY, world_id, device_id, *told.facts)
    return await connection.fetchrow(FULL_BEAT_OF_KEY, world_id, device_id, *told.facts, *told.diagnostics)


async def hear(
    connection: Connection,
    world_id: int,
    device_id: str,
    binding_generation: int,
    now: datetime,
    state: str | None,
    pending: int | None,
) -> tuple[str | None, str | None]:
    """Deliver the commands and the offer that wait for the device, as JSON; None: none.

    `state` and `pending` are what the heartbeat reports; commands that they show to be done are executed.
    """
    row = await connection.fetchrow(HEAR, world_id, device_id, binding_generation, now, state, pending)
    return (None, None) if row is None else (row["commands"], row["offer"])


async def begin_low_battery(connection: Connection, world_id: int, device_id: str, now: datetime) -> bool:
    """Begin an episode of low battery. False when one has begun already or the battery is not low."""
    return await connection.fetchval(BEGIN_LOW_BATTERY, world_id, device_id, now) is not None


async def find_silent(
    connection: Connection, first_slot: int, last_slot: int, before: datetime, limit: int
) -> list[asyncpg.Record]:
    """Lock devices that have gone silent, in the order of `heartbeat_slot`; also world_id, project_id, id and
    last_heartbeat_at."""
    return await connection.fetch(FIND_SILENT, first_slot, last_slot, before, limit)


async def begin_offline(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Mark devices as offline since their last heartbeat."""
    await connection.execute(BEGIN_OFFLINE, world_id, device_ids)


async def prune_diagnostics(connection: Connection, before: datetime, limit: int) -> str:
    """Delete at most `limit` diagnostics received before `before`, oldest first. Returns the command tag."""
    return await connection.execute(PRUNE_DIAGNOSTICS, before, limit)


async def forget_binding(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Erase what these devices reported in the binding that ends."""
    await connection.execute(FORGET_BINDING, world_id, device_ids)


async def delete_of_devices(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Delete the diagnostics of devices."""
    await connection.execute(DELETE_OF_DEVICES, world_id, device_ids)


async def delete_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` diagnostics of this end user's bindings. Returns their number, 0: none left."""
    return await connection.fetchval(DELETE_OF_END_USER, world_id, end_user_id, limit)
