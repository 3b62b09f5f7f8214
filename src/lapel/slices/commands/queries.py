"""All SQL of commands.

Creating and delivering a command must not run at the same time as the end of a binding, so they lock the
device's row first, as binding and unbinding do. When several requests end one command, its row alone decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.slices.end_users.service import present

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.commands.wire import Status

_NAMES = (
    "id", "device_id", "end_user_id", "binding_generation", "type", "status", "params", "result", "error",
    "expires_at", "delivered_at", "executed_at", "created_at",
)  # fmt: skip
# A command that never expires is stored with the time `infinity`, and shown without one.
_EXPIRES = "NULLIF(c.expires_at, 'infinity') AS expires_at"
COMMAND = ", ".join(_EXPIRES if name == "expires_at" else f"c.{name}" for name in _NAMES)
_OF_DEVICE = "c.world_id = $1 AND c.device_id = $2"
_NOT_ENDED = "c.status IN ('pending', 'delivered')"
_WITH_DEVICE = "commands c JOIN devices d ON d.world_id = c.world_id AND d.id = c.device_id"
# The commands of a deleted end user are hidden until the job removes them.
_PRESENT = present("c")
_ITS_DEVICE = "d.world_id = $1 AND d.id = $2 AND d.deleted_at IS NULL"

# Whether a heartbeat shows that a delivered command `c` was executed, for devices that send no reports.
# Format it with the expressions for the heartbeat's values. A heartbeat never shows a factory reset.
SHOWN_DONE = """coalesce(c.status = 'delivered' AND CASE c.type
        WHEN 'start_recording' THEN {state} = 'recording'
        WHEN 'stop_recording' THEN {state} <> 'recording'
        WHEN 'trigger_upload' THEN coalesce({state} IN ('syncing', 'uploading'), false) OR {pending} = 0
        ELSE false END, false)"""

# $3: the end user whose devices the caller may see; NULL: all.
READ_DEVICE = """
SELECT serial_number, end_user_id, binding_generation FROM devices
WHERE world_id = $1 AND id = $2 AND ($3::text IS NULL OR end_user_id = $3) AND deleted_at IS NULL
"""

HOLD_DEVICE = """
SELECT serial_number, end_user_id, binding_generation FROM devices
WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE
"""

# Locked, because the answer that shows it is stored: the job that removes it waits, and finds that answer.
FIND_BY_KEY = f"""
SELECT {COMMAND}, c.type = $4 AND c.params = $5 AS same, {_PRESENT} AS present FROM commands c
WHERE {_OF_DEVICE} AND c.idempotency_key = $3 FOR KEY SHARE
"""

COUNT_OPEN = f"SELECT count(*) FROM commands c WHERE {_OF_DEVICE} AND {_NOT_ENDED} AND c.expires_at > $3"

INSERT = f"""
INSERT INTO commands AS c
    (world_id, id, device_id, end_user_id, binding_generation, type, status, params, idempotency_key,
     expires_at, created_at)
VALUES ($1, $3, $2, $4, $5, $6, 'pending', $7, $8, coalesce($9::timestamptz, 'infinity'), $10)
RETURNING {COMMAND}
"""

# $4: the end user whose commands the caller may see; NULL: all.
READ = f"""
SELECT {COMMAND}, d.serial_number FROM {_WITH_DEVICE}
WHERE {_OF_DEVICE} AND c.id = $3 AND d.deleted_at IS NULL
  AND ($4::text IS NULL OR (c.end_user_id = $4 AND d.end_user_id = $4)) AND {_PRESENT}
"""

# Four statements instead of one with `OR`, so that the prepared plan of each uses its own index.
_ANY = f"FROM commands c WHERE {_OF_DEVICE} AND ($3::text IS NULL OR c.end_user_id = $3) AND {_PRESENT}"
_SEEN = f"SELECT {COMMAND} {_ANY}"
_ALL_SEEN = f"SELECT c.* {_ANY}"
_PAGE = f"{_SEEN} AND (c.created_at, c.id) < ($4, $5)"
_NEWEST = "ORDER BY c.created_at DESC, c.id DESC LIMIT $6 OFFSET $7"
LIST = f"{_PAGE} {_NEWEST}"
LIST_ENDED = f"{_PAGE} AND c.status = $8 AND c.status IN ('executed', 'failed', 'cancelled') {_NEWEST}"
LIST_EXPIRED = f"{_PAGE} AND {_NOT_ENDED} AND c.expires_at <= $8 {_NEWEST}"
# Few commands are open: they are found by their expiry and then sorted. Without MATERIALIZED, PostgreSQL
# would scan all commands that ever expired, because these are sorted already.
LIST_OPEN = f"""
WITH open AS MATERIALIZED ({_ALL_SEEN} AND {_NOT_ENDED} AND c.status = $9 AND c.expires_at > $8)
SELECT {COMMAND} FROM open c WHERE (c.created_at, c.id) < ($4, $5) {_NEWEST}
"""

OPEN = f"""
SELECT {COMMAND}, d.serial_number FROM {_WITH_DEVICE}
WHERE {_OF_DEVICE} AND {_NOT_ENDED} AND c.expires_at > $3 AND c.binding_generation = $4
  AND d.binding_generation = $4 AND d.deleted_at IS NULL
ORDER BY c.created_at, c.id
"""

DELIVER = f"""
UPDATE commands c SET status = 'delivered', delivered_at = $3
WHERE {_OF_DEVICE} AND {_NOT_ENDED} AND c.status = 'pending' AND c.expires_at > $3
"""

CANCEL = f"""
UPDATE commands c SET status = 'cancelled' FROM devices d
WHERE {_OF_DEVICE} AND c.id = $3 AND c.status = 'pending' AND c.expires_at > $4 AND {_ITS_DEVICE}
RETURNING {COMMAND}, d.serial_number
"""

# A command may reach the device in another way, because its token is valid offline: it counts as delivered.
# If only heartbeats showed it to be executed, the device may still report that, with its own result.
REPORT = f"""
UPDATE commands c SET status = $5, result = COALESCE($6, c.result), error = $7,
    executed_at = COALESCE(c.executed_at, $4), delivered_at = COALESCE(c.delivered_at, $4),
    inferred = c.inferred AND $6::jsonb IS NULL AND $7::jsonb IS NULL
FROM devices d
WHERE {_OF_DEVICE} AND c.id = $3
  AND (({_NOT_ENDED} AND c.expires_at > $4) OR (c.inferred AND $5 = 'executed'))
  AND c.binding_generation = $8 AND {_ITS_DEVICE}
RETURNING {COMMAND}, d.serial_number
"""

READ_REPORTED = f"""
SELECT {COMMAND}, d.serial_number, c.status = $4 AND c.result IS NOT DISTINCT FROM $5
    AND c.error IS NOT DISTINCT FROM $6 AS same
FROM {_WITH_DEVICE}
WHERE {_OF_DEVICE} AND c.id = $3 AND c.binding_generation = $7 AND d.deleted_at IS NULL
"""

READ_TYPE = f"""
SELECT c.type FROM commands c WHERE {_OF_DEVICE} AND c.id = $3 AND c.binding_generation = $4
"""

CANCEL_OPEN = f"""
UPDATE commands c SET status = 'cancelled'
WHERE c.world_id = $1 AND c.device_id = ANY($2::text[]) AND {_NOT_ENDED} AND c.expires_at > $3
"""

# Counts the locked rows: a row that changed meanwhile stays, and the next batch sees its new version.
DELETE_OF_END_USER = """
WITH held AS MATERIALIZED (
    SELECT ctid FROM commands WHERE world_id = $1 AND end_user_id = $2 LIMIT $3 FOR UPDATE
), gone AS (
    DELETE FROM commands WHERE ctid = ANY(ARRAY(SELECT ctid FROM held)) AND world_id = $1
)
SELECT count(*) FROM held
"""

DELETE_ONE = f"DELETE FROM commands c WHERE {_OF_DEVICE} AND c.id = $3"

DELETE_OF_DEVICES = "DELETE FROM commands WHERE world_id = $1 AND device_id = ANY($2::text[])"


async def read_device(
    connection: Connection, world_id: int, device_id: str, only: str | None
) -> asyncpg.Record | None:
    """Serial number, end user and binding generation of a device, if the caller may see it."""
    return await connection.fetchrow(READ_DEVICE, world_id, device_id, only)


async def hold_device(connection: Connection, world_id: int, device_id: str) -> asyncpg.Record | None:
    """Columns as of `read_device`; the device's row is locked until the transaction ends."""
    return await connection.fetchrow(HOLD_DEVICE, world_id, device_id)


async def find_by_key(
    connection: Connection, world_id: int, device_id: str, key: str, kind: str, params: str
) -> asyncpg.Record | None:
    """The command made with this idempotency key, locked; whether it is `same` and its end user `present`."""
    return await connection.fetchrow(FIND_BY_KEY, world_id, device_id, key, kind, params)


async def count_open(connection: Connection, world_id: int, device_id: str, now: datetime) -> int:
    """How many open commands the device has."""
    return await connection.fetchval(COUNT_OPEN, world_id, device_id, now)


async def insert(
    connection: Connection,
    world_id: int,
    device_id: str,
    command_id: str,
    binding: tuple[str, int],
    kind: str,
    params: str,
    key: str | None,
    lives: tuple[datetime, datetime | None],
) -> asyncpg.Record:
    """The new row. `binding`: (end user, generation); `lives`: (created, expires), None: never expires."""
    row = await connection.fetchrow(
        INSERT, world_id, device_id, command_id, *binding, kind, params, key, lives[1], lives[0]
    )
    if row is None:
        raise AssertionError("INSERT … RETURNING gave no row")
    return row


async def read(
    connection: Connection, world_id: int, device_id: str, command_id: str, only: str | None
) -> asyncpg.Record | None:
    """One command with its device's `serial_number`, if the caller may see it."""
    return await connection.fetchrow(READ, world_id, device_id, command_id, only)


async def list_page(
    connection: Connection,
    world_id: int,
    device_id: str,
    only: str | None,
    asked: PageWindow,
    status: Status | None,
    now: datetime,
) -> list[asyncpg.Record]:
    """Rows of one page, plus one that tells whether more follow; `now` decides what is `expired`."""
    window = (world_id, device_id, only, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    match status:
        case None:
            return await connection.fetch(LIST, *window)
        case "expired":
            return await connection.fetch(LIST_EXPIRED, *window, now)
        case "pending" | "delivered":
            return await connection.fetch(LIST_OPEN, *window, now, status)
        case _:
            return await connection.fetch(LIST_ENDED, *window, status)


async def list_open(
    connection: Connection, world_id: int, device_id: str, binding_generation: int, now: datetime
) -> list[asyncpg.Record]:
    """The device's open commands in this binding, oldest first, each with its `serial_number`."""
    return await connection.fetch(OPEN, world_id, device_id, now, binding_generation)


async def deliver(connection: Connection, world_id: int, device_id: str, now: datetime) -> None:
    """Mark a device's pending commands as delivered."""
    await connection.execute(DELIVER, world_id, device_id, now)


async def cancel(
    connection: Connection, world_id: int, device_id: str, command_id: str, now: datetime
) -> asyncpg.Record | None:
    """Cancel a pending command, and return its row. None when there is none."""
    return await connection.fetchrow(CANCEL, world_id, device_id, command_id, now)


async def report(
    connection: Connection,
    world_id: int,
    device_id: str,
    command_id: str,
    told: tuple[str, str | None, str | None],
    binding_generation: int,
    now: datetime,
) -> asyncpg.Record | None:
    """Store a report; the ended row, None when this binding has no such open command.

    `told`: (status, result, error), the last two as JSON text.
    """
    return await connection.fetchrow(REPORT, world_id, device_id, command_id, now, *told, binding_generation)


async def read_reported(
    connection: Connection,
    world_id: int,
    device_id: str,
    command_id: str,
    told: tuple[str, str | None, str | None],
    binding_generation: int,
) -> asyncpg.Record | None:
    """One command of this binding, and whether its row says the `same` as `told`."""
    return await connection.fetchrow(
        READ_REPORTED, world_id, device_id, command_id, *told, binding_generation
    )


async def read_type(
    connection: Connection, world_id: int, device_id: str, command_id: str, binding_generation: int
) -> str | None:
    """The type of a command of this binding."""
    return await connection.fetchval(READ_TYPE, world_id, device_id, command_id, binding_generation)


async def cancel_open(connection: Connection, world_id: int, device_ids: list[str], now: datetime) -> None:
    """Cancel all open commands of these devices."""
    await connection.execute(CANCEL_OPEN, world_id, device_ids, now)


async def delete_of_end_user(connection: Connection, world_id: int, end_user_id: str, limit: int) -> int:
    """Delete at most `limit` commands of an end user. Returns their number, 0 when none is left."""
    return await connection.fetchval(DELETE_OF_END_USER, world_id, end_user_id, limit)


async def delete_one(connection: Connection, world_id: int, device_id: str, command_id: str) -> None:
    """Delete one command."""
    await connection.execute(DELETE_ONE, world_id, device_id, command_id)


async def delete_of_devices(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Delete all commands of devices."""
    await connection.execute(DELETE_OF_DEVICES, world_id, device_ids)
