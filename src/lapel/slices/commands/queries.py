"""All SQL that reads or deletes commands; `state_queries.py` has all SQL that changes a command's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.batches import deleting_some
from lapel.foundation.database.rows import fetch_only_value, fetch_row, fetch_rows, fetch_value
from lapel.foundation.http.input.pagination import PLANNED_ANEW
from lapel.slices.commands.rows import AddressedRow, CommandRow, KeyedRow, ReportedRow
from lapel.slices.devices.service import device_of_row
from lapel.slices.end_users.service import present

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.commands.wire import ReportedResult, Status, Type

_NAMES = (
    "id", "device_id", "end_user_id", "binding_generation", "type", "status", "params", "result", "error",
    "expires_at", "delivered_at", "executed_at", "created_at",
)  # fmt: skip
# A command that never expires is stored with the expiry `infinity`, and shown without an expiry.
_EXPIRES = "NULLIF(c.expires_at, 'infinity') AS expires_at"
COMMAND = ", ".join(_EXPIRES if name == "expires_at" else f"c.{name}" for name in _NAMES)
OF_DEVICE = "c.world_id = $1 AND c.device_id = $2"
NOT_ENDED = "c.status IN ('pending', 'delivered')"
_WITH_DEVICE = f"commands c JOIN {device_of_row('c', 'ON')}"
# The commands of a deleted end user are hidden until the job removes them.
_PRESENT = present("c")

# Whether commands wait for a device. In the statement that uses this SQL, `d` is the device and $3 the
# present time.
WAITING = f"""EXISTS (SELECT 1 FROM commands c
    WHERE c.world_id = d.world_id AND c.device_id = d.id AND {NOT_ENDED} AND c.expires_at > $3)"""

# Whether a command to record was delivered to the device `d`, or executed by the device, since the device's
# previous heartbeat. $3 is the present time.
COMMANDED_TO_RECORD = """EXISTS (SELECT 1 FROM commands c
    WHERE c.world_id = d.world_id AND c.device_id = d.id AND c.created_at > $3 - interval '25 hours'
      AND c.binding_generation = d.binding_generation
      AND c.type = 'start_recording' AND c.status IN ('delivered', 'executed')
      AND greatest(c.delivered_at, c.executed_at) >= coalesce(d.last_heartbeat_at, '-infinity'))"""

# The row is locked because the answer that shows the command is stored. The job that deletes the command
# waits for the lock, and then finds the stored answer.
FIND_BY_KEY = f"""
SELECT {COMMAND}, c.type = $4 AND c.params = $5 AS same, {_PRESENT} AS present FROM commands c
WHERE {OF_DEVICE} AND c.idempotency_key = $3 FOR KEY SHARE
"""

COUNT_OPEN = f"SELECT count(*) FROM commands c WHERE {OF_DEVICE} AND {NOT_ENDED} AND c.expires_at > $3"

# $4: the end user whose commands the caller may see; NULL: all.
READ = f"""
SELECT {COMMAND}, d.serial_number FROM {_WITH_DEVICE}
WHERE {OF_DEVICE} AND c.id = $3 AND {_PRESENT}
  AND ($4::text IS NULL OR (c.end_user_id = $4 AND d.end_user_id = $4))
"""

# Four statements instead of one with `OR`, so that the prepared plan of each uses its own index.
_ANY = f"FROM commands c WHERE {OF_DEVICE} AND ($3::text IS NULL OR c.end_user_id = $3) AND {_PRESENT}"
_SEEN = f"SELECT {COMMAND} {_ANY}"
_ALL_SEEN = f"SELECT c.* {_ANY}"
_PAGE = f"{_SEEN} AND (c.created_at, c.id) < ($4, $5)"
_NEWEST = "ORDER BY c.created_at DESC, c.id DESC LIMIT $6 OFFSET $7"
LIST = f"{_PAGE} {_NEWEST}"
LIST_ENDED = f"{_PAGE} AND c.status = $8 AND c.status IN ('executed', 'failed', 'cancelled') {_NEWEST}"
LIST_EXPIRED = f"{_PAGE} AND {NOT_ENDED} AND c.expires_at <= $8 {_NEWEST}"
# Few commands are open, so this statement finds them by their expiry and then sorts them. Without
# MATERIALIZED, PostgreSQL would use the index `commands_expired`, which is sorted already, and would read all
# commands that have expired.
LIST_OPEN = f"""
WITH open AS MATERIALIZED ({_ALL_SEEN} AND {NOT_ENDED} AND c.status = $9 AND c.expires_at > $8
    AND {PLANNED_ANEW})
SELECT {COMMAND} FROM open c WHERE (c.created_at, c.id) < ($4, $5) {_NEWEST}
"""

OPEN = f"""
SELECT {COMMAND}, d.serial_number FROM {_WITH_DEVICE}
WHERE {OF_DEVICE} AND {NOT_ENDED} AND c.expires_at > $3 AND c.binding_generation = $4
  AND d.binding_generation = $4
ORDER BY c.created_at, c.id
"""

READ_REPORTED = f"""
SELECT {COMMAND}, d.serial_number, c.status = $4 AND c.result IS NOT DISTINCT FROM $5
    AND c.error IS NOT DISTINCT FROM $6 AS same
FROM {_WITH_DEVICE}
WHERE {OF_DEVICE} AND c.id = $3 AND c.binding_generation = $7
"""

IS_RESET = f"""
SELECT 1 FROM commands c
WHERE {OF_DEVICE} AND c.id = $3 AND c.binding_generation = $4 AND c.type = 'factory_reset'
"""

# Index: commands_of_end_user. An end user has few devices over time.
NEXT_DEVICE = f"""
SELECT min(c.device_id) FROM commands c
WHERE c.world_id = $1 AND c.end_user_id = $2 AND c.device_id > $3 AND {_PRESENT}
"""

DELETE_OF_END_USER = deleting_some(
    "commands", "SELECT ctid FROM commands WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE"
)

DELETE_ONE = f"DELETE FROM commands c WHERE {OF_DEVICE} AND c.id = $3"

DELETE_OF_DEVICES = "DELETE FROM commands WHERE world_id = $1 AND device_id = ANY($2::text[])"


async def find_by_key(
    connection: Connection, world_id: int, device_id: str, key: str, kind: Type, params: str
) -> KeyedRow | None:
    """The command that a request with this idempotency key made. Its row is locked."""
    return await fetch_row(connection, KeyedRow, FIND_BY_KEY, world_id, device_id, key, kind, params)


async def count_open(connection: Connection, world_id: int, device_id: str, now: datetime) -> int:
    """How many open commands the device has."""
    return await fetch_only_value(connection, int, COUNT_OPEN, world_id, device_id, now)


async def read(
    connection: Connection, world_id: int, device_id: str, command_id: str, only: str | None
) -> AddressedRow | None:
    """One command with its device's `serial_number`, if the caller may see the command."""
    return await fetch_row(connection, AddressedRow, READ, world_id, device_id, command_id, only)


async def list_page(
    connection: Connection,
    world_id: int,
    device_id: str,
    only: str | None,
    asked: PageWindow,
    status: Status | None,
    now: datetime,
) -> list[CommandRow]:
    """Rows of one page, plus one row that tells whether more follow; `now` decides what is `expired`."""
    window = (world_id, device_id, only, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    match status:
        case None:
            return await fetch_rows(connection, CommandRow, LIST, *window)
        case "expired":
            return await fetch_rows(connection, CommandRow, LIST_EXPIRED, *window, now)
        case "pending" | "delivered":
            return await fetch_rows(connection, CommandRow, LIST_OPEN, *window, now, status)
        case _:
            return await fetch_rows(connection, CommandRow, LIST_ENDED, *window, status)


async def list_open(
    connection: Connection, world_id: int, device_id: str, binding_generation: int, now: datetime
) -> list[AddressedRow]:
    """The device's open commands in this binding, oldest first, each with its `serial_number`."""
    return await fetch_rows(connection, AddressedRow, OPEN, world_id, device_id, now, binding_generation)


async def read_reported(
    connection: Connection,
    world_id: int,
    device_id: str,
    command_id: str,
    reported: ReportedResult,
    binding_generation: int,
) -> ReportedRow | None:
    """One command of this binding, and whether its row says the `same` as `reported`."""
    return await fetch_row(
        connection, ReportedRow, READ_REPORTED, world_id, device_id, command_id, *reported, binding_generation
    )


async def is_reset(
    connection: Connection, world_id: int, device_id: str, command_id: str, binding_generation: int
) -> bool:
    """Whether a command of this binding is a factory reset."""
    return (
        await connection.fetchval(IS_RESET, world_id, device_id, command_id, binding_generation) is not None
    )


async def next_device(connection: Connection, world_id: int, end_user_id: str, after: str) -> str | None:
    """The first device after the id `after` to which a command was sent in a binding to the end user."""
    return await fetch_value(connection, str, NEXT_DEVICE, world_id, end_user_id, after)


async def delete_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` commands of an end user. Returns their number, 0 when none is left."""
    return await fetch_only_value(connection, int, DELETE_OF_END_USER, world_id, end_user_id, limit)


async def delete_one(connection: Connection, world_id: int, device_id: str, command_id: str) -> None:
    """Delete one command."""
    await connection.execute(DELETE_ONE, world_id, device_id, command_id)


async def delete_of_devices(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Delete all commands of devices."""
    await connection.execute(DELETE_OF_DEVICES, world_id, device_ids)
