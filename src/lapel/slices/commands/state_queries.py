"""All SQL that changes the state of commands.

A command must not be created or delivered while a binding ends. So the statements that create or deliver
commands lock the device's row first, as binding and unbinding do. When several requests end one command, the
command's row alone decides. `expired` is not stored: service.py computes it from `expires_at`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_only_row, fetch_row
from lapel.slices.commands.queries import COMMAND, NOT_ENDED, OF_DEVICE
from lapel.slices.commands.rows import AddressedRow, CommandRow
from lapel.slices.devices.service import device_of_row

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.slices.commands.wire import ReportedResult, Type

INSERT = f"""
INSERT INTO commands AS c
    (world_id, id, device_id, end_user_id, binding_generation, type, status, params, idempotency_key,
     expires_at, created_at)
VALUES ($1, $3, $2, $4, $5, $6, 'pending', $7, $8, coalesce($9::timestamptz, 'infinity'), $10)
RETURNING {COMMAND}
"""

# `delivered_at` is the first time at which the device may have seen the command. `{now}`: the SQL of that
# time.
_DELIVERED_AT = "delivered_at = coalesce(c.delivered_at, {now})"

DELIVER = f"""
UPDATE commands c SET status = 'delivered', {_DELIVERED_AT.format(now="$3")}
WHERE {OF_DEVICE} AND {NOT_ENDED} AND c.status = 'pending' AND c.expires_at > $3
"""

# Whether a heartbeat shows that a delivered command was carried out, for devices that report no results. No
# heartbeat shows a factory reset.
_DONE = """coalesce(c.status = 'delivered' AND CASE c.type
        WHEN 'start_recording' THEN $5::text = 'recording'
        WHEN 'stop_recording' THEN $5 <> 'recording'
        WHEN 'trigger_upload' THEN coalesce($5 IN ('syncing', 'uploading'), false) OR $6::bigint = 0
        ELSE false END, false)"""


def _time(moment: str) -> str:
    """SQL that writes a time as answers do."""
    return f"""to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""


# For WITH in a heartbeat's statement, in which `beat` is the device with a locked row. If the heartbeat shows
# that a command was done, the command is marked as executed; otherwise it is marked as delivered. Returns all
# these commands. $4: the present time; $5 and $6: the state and the number of waiting recordings that the
# heartbeat reports, or NULL.
DELIVERED_COMMANDS = f"""delivered AS (
UPDATE commands c SET {_DELIVERED_AT.format(now="$4")}, inferred = {_DONE},
    status = CASE WHEN {_DONE} THEN 'executed' ELSE 'delivered' END,
    executed_at = CASE WHEN {_DONE} THEN $4 END,
    result = CASE WHEN {_DONE} THEN CASE c.type
        WHEN 'start_recording' THEN jsonb_build_object(
            'recording_id', beat.active_recording_id, 'started_at', {_time("beat.active_since")})
        WHEN 'stop_recording' THEN jsonb_build_object('stopped_at', {_time("$4::timestamptz")}) END END
FROM beat
WHERE c.world_id = beat.world_id AND c.device_id = beat.id AND {NOT_ENDED}
  AND c.expires_at > $4 AND c.binding_generation = beat.binding_generation
RETURNING {COMMAND}
)"""

CANCEL = f"""
UPDATE commands c SET status = 'cancelled' FROM {device_of_row("c", "WHERE")}
  AND {OF_DEVICE} AND c.id = $3 AND c.status = 'pending' AND c.expires_at > $4
RETURNING {COMMAND}, d.serial_number
"""

# A command may reach the device in another way, because the command's token is valid offline. So a reported
# command counts as delivered. If only heartbeats showed that a command was executed, the device may still
# report the execution, with its own result.
REPORT = f"""
UPDATE commands c SET status = $5, result = COALESCE($6, c.result), error = $7,
    executed_at = COALESCE(c.executed_at, $4), {_DELIVERED_AT.format(now="$4")},
    inferred = c.inferred AND $6::jsonb IS NULL AND $7::jsonb IS NULL
FROM {device_of_row("c", "WHERE")}
  AND {OF_DEVICE} AND c.id = $3
  AND (({NOT_ENDED} AND c.expires_at > $4) OR (c.inferred AND $5 = 'executed'))
  AND c.binding_generation = $8
RETURNING {COMMAND}, d.serial_number
"""

CANCEL_OPEN = f"""
UPDATE commands c SET status = 'cancelled'
WHERE c.world_id = $1 AND c.device_id = ANY($2::text[]) AND {NOT_ENDED} AND c.expires_at > $3
"""


async def insert(
    connection: Connection,
    world_id: int,
    device_id: str,
    command_id: str,
    binding: tuple[str, int],
    kind: Type,
    params: str,
    key: str | None,
    lives: tuple[datetime, datetime | None],
) -> CommandRow:
    """Insert a command, and return its row.

    `binding`: (end user, generation). `lives`: (creation, expiry); an expiry of None means never.
    """
    return await fetch_only_row(
        connection,
        CommandRow,
        INSERT,
        world_id,
        device_id,
        command_id,
        *binding,
        kind,
        params,
        key,
        lives[1],
        lives[0],
    )


async def deliver(connection: Connection, world_id: int, device_id: str, now: datetime) -> None:
    """Mark a device's pending commands as delivered."""
    await connection.execute(DELIVER, world_id, device_id, now)


async def cancel(
    connection: Connection, world_id: int, device_id: str, command_id: str, now: datetime
) -> AddressedRow | None:
    """Cancel a pending command, and return its row. None when there is no such pending command."""
    return await fetch_row(connection, AddressedRow, CANCEL, world_id, device_id, command_id, now)


async def report(
    connection: Connection,
    world_id: int,
    device_id: str,
    command_id: str,
    reported: ReportedResult,
    binding_generation: int,
    now: datetime,
) -> AddressedRow | None:
    """Store a report, and return the command's row. None when this binding has no command that takes it.

    `reported`: (status, result, error); the last two are JSON texts.
    """
    return await fetch_row(
        connection, AddressedRow, REPORT, world_id, device_id, command_id, now, *reported, binding_generation
    )


async def cancel_open(connection: Connection, world_id: int, device_ids: list[str], now: datetime) -> None:
    """Cancel all open commands of these devices."""
    await connection.execute(CANCEL_OPEN, world_id, device_ids, now)
