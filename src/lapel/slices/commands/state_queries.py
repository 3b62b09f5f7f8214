"""All SQL that changes the state of commands.

Creating and delivering a command must not run at the same time as the end of a binding, so they lock the
device's row first, as binding and unbinding do. When several requests end one command, its row alone decides.
`expired` is not stored: service.py computes it from `expires_at`.
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

# A command is delivered at the first moment at which its device may have seen it. To be formatted with that.
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


# For WITH in a heartbeat's statement, whose `beat` is the device, with its row locked. Marks commands as
# executed that the heartbeat shows to be done, and the others as delivered, and gives all of them.
# $4: the present time; $5 and $6: the state and the number of waiting recordings that it reports, or NULL.
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

# A command may reach the device in another way, because its token is valid offline: it counts as delivered.
# If only heartbeats showed it to be executed, the device may still report that, with its own result.
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
    """The new row. `binding`: (end user, generation); `lives`: (created, expires), None: never expires."""
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
    """Cancel a pending command, and return its row. None when there is none."""
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
    """Store a report; the ended row, None when this binding has no such open command.

    `reported`: (status, result, error), the last two as JSON text.
    """
    return await fetch_row(
        connection, AddressedRow, REPORT, world_id, device_id, command_id, now, *reported, binding_generation
    )


async def cancel_open(connection: Connection, world_id: int, device_ids: list[str], now: datetime) -> None:
    """Cancel all open commands of these devices."""
    await connection.execute(CANCEL_OPEN, world_id, device_ids, now)
