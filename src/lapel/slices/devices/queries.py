"""All SQL of devices.

A deleted device keeps its row, but every statement here skips that row. A transaction that stores a row about
a device locks the device's row until the transaction ends, and a deletion waits for that lock.

A transaction that changes a device's tokens (token_queries.py) locks the device's row first, so binding,
unbinding, refreshing and the first use of a fresh token (tokens/lookup_queries.py) run one after
another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.asked_rows import asked_rows, parameters
from lapel.foundation.database.rows import fetch_found, fetch_only_row, fetch_row, fetch_rows, fetch_value
from lapel.foundation.http.input.pagination import PLANNED_ANEW, from_start
from lapel.slices.devices.rows import (
    CountsRow,
    DeviceRow,
    DeviceSummary,
    FoundStateRow,
    LockedBindingRow,
    LockedDeviceRow,
    SeenRow,
    StateRow,
    UnboundRow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.http.input.pagination import PageWindow
    from lapel.slices.devices.wire import ConnectionKind

_COLUMNS = """id, serial_number, model, name, firmware_version, end_user_id, binding_generation, bound_at,
    battery_percent, storage_used_mb, storage_total_mb, signal_strength_dbm, last_heartbeat_at, last_seen_at,
    last_synced_at, recording_state, metadata, settings, created_at, updated_at"""

# No answer shows a recording that was deleted after the device reported it.
_STATE_COLUMNS = """last_seen_by, active_since, initiated_by, last_synced_by,
    (SELECT r.id FROM recordings r
        WHERE r.world_id = devices.world_id AND r.id = devices.active_recording_id AND r.deleted_at IS NULL)
        AS active_recording_id"""

INSERT = f"""
INSERT INTO devices
    (world_id, id, serial_number, model, name, firmware_version, metadata, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
ON CONFLICT (world_id, serial_number) WHERE deleted_at IS NULL DO NOTHING
RETURNING {_COLUMNS}
"""

# The row is locked because the answer names the end user and is stored. The deletion of that end user waits
# for the lock, and then finds the stored answer.
READ_BY_SERIAL = f"""
SELECT {_COLUMNS} FROM devices WHERE world_id = $1 AND serial_number = $2 AND deleted_at IS NULL FOR SHARE
"""

# `only_of`: the end user whose devices the caller may see; NULL: all.
_ASKED = asked_rows(world_id="bigint", device_id="text", only_of="text")
READ = f"""
SELECT {_COLUMNS}, {_STATE_COLUMNS}, asked.place
FROM {_ASKED.several}
JOIN devices ON devices.world_id = asked.world_id AND devices.id = asked.device_id
WHERE (asked.only_of IS NULL OR end_user_id = asked.only_of) AND deleted_at IS NULL
"""
READ_ONE = _ASKED.alone(READ)

# True if a bound device has sent a heartbeat in its present binding. What it reported before is about an
# earlier wearer (`views.seen_by`).
_HEARD = "last_heartbeat_at >= bound_at"

# Stored as the device sent it, and in no answer: only the export of the end user has it.
READ_CLIENT_CONTEXT = f"""
SELECT client_context FROM devices
WHERE world_id = $1 AND id = $2 AND end_user_id = $3 AND {_HEARD} AND deleted_at IS NULL
"""

READ_MANY = f"""
SELECT {_COLUMNS} FROM devices WHERE world_id = $1 AND id = ANY($2::text[]) AND deleted_at IS NULL
"""

# Four statements instead of one with `OR`, so that the prepared plan of each uses its own index.
LISTS = {
    name: f"""
SELECT {_COLUMNS} FROM devices
WHERE world_id = $1 AND (created_at, id) < ($2, $3){condition} AND deleted_at IS NULL
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""
    for name, condition in {
        "all": "",
        "bound": f" AND end_user_id IS NOT NULL AND {PLANNED_ANEW}",
        "unbound": f" AND end_user_id IS NULL AND {PLANNED_ANEW}",
        "of_end_user": f" AND end_user_id = $6 AND {PLANNED_ANEW}",
    }.items()
}
LIST_FROM_START = from_start(LISTS["all"])

# A name that the device got in a binding may name the end user, so it ends with the binding.
_END_NAME = "name = CASE WHEN named_for IS NULL THEN name END, named_for = NULL"

# Of two concurrent bindings, the second waits for the row, and then finds that the device is bound.
# A server of an older release, during an update, leaves the name when it unbinds.
# Whether a report is of the binding is told by its time. So the binding begins after every report that is
# stored, also if it waited for one, or if the clock of another server is ahead.
BIND = f"""
UPDATE devices SET end_user_id = $3, public_key = $4, updated_at = $5,
    bound_at = greatest($5, greatest(last_heartbeat_at, last_seen_at, last_synced_at)
        + interval '1 microsecond'),
    binding_generation = binding_generation + 1, {_END_NAME}
WHERE world_id = $1 AND id = $2 AND end_user_id IS NULL AND deleted_at IS NULL
RETURNING {_COLUMNS}
"""

_END_BINDING = f"end_user_id = NULL, public_key = NULL, bound_at = NULL, updated_at = $3, {_END_NAME}"

UNBIND = f"""
UPDATE devices SET {_END_BINDING}
WHERE world_id = $1 AND id = $2 AND end_user_id IS NOT NULL AND deleted_at IS NULL
RETURNING {_COLUMNS}
"""

LOCK_BINDING = """
SELECT end_user_id, bound_at FROM devices WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
FOR NO KEY UPDATE
"""

# `began`: when the binding began that ends now.
UNBIND_ALL = f"""
WITH ended AS MATERIALIZED (
    SELECT d.id AS device_id, d.bound_at AS began FROM devices d
    WHERE d.world_id = $1 AND d.end_user_id = $2 AND d.deleted_at IS NULL FOR NO KEY UPDATE
)
UPDATE devices SET {_END_BINDING} FROM ended
WHERE world_id = $1 AND id = ended.device_id
RETURNING {_COLUMNS}, ended.began,
    (SELECT w.project_id FROM worlds w WHERE w.id = devices.world_id) AS project_id
"""

# $3: the end user whose devices the caller may see; NULL: all.
FIND = """
SELECT id, serial_number, model, firmware_version, end_user_id, binding_generation FROM devices
WHERE world_id = $1 AND id = $2 AND ($3::text IS NULL OR end_user_id = $3) AND deleted_at IS NULL
"""

# For a transaction that must not run while a binding begins or ends.
LOCK = f"{FIND} FOR NO KEY UPDATE"

# This lock is stronger than the lock of an UPDATE of these columns. So this statement also waits for a `FOR
# KEY SHARE` of another slice.
LOCK_TO_DELETE = """
SELECT end_user_id FROM devices WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE
"""

# The id and `created_at` stay, because recordings refer to the device. The serial number is free again.
DELETE = """
UPDATE devices SET deleted_at = $3, updated_at = $3, serial_number = '', name = NULL, named_for = NULL,
    firmware_version = NULL,
    public_key = NULL, battery_percent = NULL, storage_used_mb = NULL, storage_total_mb = NULL,
    signal_strength_dbm = NULL, last_heartbeat_at = NULL, last_seen_at = NULL, last_seen_by = NULL,
    last_synced_at = NULL, last_synced_by = NULL, recording_state = NULL, active_recording_id = NULL,
    active_since = NULL, initiated_by = NULL, client_context = NULL, heartbeat_slot = NULL,
    offline_since = NULL, low_battery_since = NULL, diagnostics_day = NULL, diagnostics_bytes = NULL,
    diagnostics_taken = NULL, metadata = '{}', settings = '{}'
WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
"""

# $4, $6, $8 and $10 say whether the request has the field.
UPDATE = f"""
UPDATE devices SET
    updated_at = $3,
    name = CASE WHEN $4::boolean THEN $5 ELSE name END,
    named_for = CASE WHEN $4 THEN end_user_id ELSE named_for END,
    firmware_version = CASE WHEN $6::boolean THEN $7 ELSE firmware_version END,
    metadata = CASE WHEN $8::boolean THEN $9 ELSE metadata END,
    settings = CASE WHEN $10::boolean THEN $11 ELSE settings END
WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
RETURNING {_COLUMNS}, last_seen_by
"""

LOCK_SETTINGS = """
SELECT settings FROM devices WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE
"""

# $2: a device is online if its last heartbeat is later. $3: a battery is low below this percentage. The
# columns that heartbeats write have no index, because an index would cost every heartbeat more than it saves
# here. So this statement reads all devices of the world.
_COUNTS = """
SELECT count(*) AS total_count,
    count(*) FILTER (WHERE last_heartbeat_at > $2{own}) AS online_count,
    count(*) FILTER (WHERE battery_percent < $3{own}) AS low_battery_count,
    count(*) FILTER (WHERE storage_total_mb > 0 AND storage_used_mb * 10 > storage_total_mb * 9{own})
        AS storage_full_count
FROM devices WHERE world_id = $1 AND deleted_at IS NULL
"""
COUNTS = _COUNTS.format(own="")
COUNT_DEVICES = "SELECT count(*) FROM devices d WHERE d.world_id = $1 AND d.deleted_at IS NULL"
COUNTS_OF_END_USER = _COUNTS.format(own=f" AND {_HEARD}") + " AND end_user_id = $4"

# Stores the time of a complete upload of a recording that the device made. $5: the recording's end user. If
# another end user wears the device by now, nothing is stored: an upload of the earlier wearer is not theirs
# to see.
SYNCED = """
UPDATE devices SET last_synced_at = greatest($3, bound_at), last_synced_by = $4
WHERE world_id = $1 AND id = $2 AND (end_user_id IS NULL OR end_user_id = $5) AND deleted_at IS NULL
"""


async def insert(
    connection: Connection,
    world_id: int,
    device_id: str,
    serial_number: str,
    model: str,
    name: str | None,
    firmware_version: str | None,
    metadata: str,
    now: datetime,
) -> DeviceRow | None:
    """Insert a device. None when the serial number is registered."""
    return await fetch_row(
        connection,
        DeviceRow,
        INSERT,
        world_id,
        device_id,
        serial_number,
        model,
        name,
        firmware_version,
        metadata,
        now,
    )


async def read_by_serial(connection: Connection, world_id: int, serial_number: str) -> DeviceRow | None:
    """The device with this serial number; its row is locked until the transaction ends."""
    return await fetch_row(connection, DeviceRow, READ_BY_SERIAL, world_id, serial_number)


async def read(
    connection: Connection, asked: Sequence[tuple[int, str, str | None]]
) -> list[FoundStateRow | None]:
    """The devices of several questions; None for a device that the caller may not see.

    A question is the world, the device's id, and the only end user whose devices the caller may see.
    """
    return await fetch_found(
        connection,
        FoundStateRow,
        READ_ONE if len(asked) == 1 else READ,
        len(asked),
        *parameters(asked),
    )


async def read_one(
    connection: Connection, world_id: int, device_id: str, only: str | None
) -> StateRow | None:
    """One device, if the caller may see it."""
    return (await read(connection, [(world_id, device_id, only)]))[0]


async def client_context(
    connection: Connection, world_id: int, device_id: str, end_user_id: str
) -> str | None:
    """The context that a device of an end user last reported, as JSON text."""
    return await fetch_value(connection, str, READ_CLIENT_CONTEXT, world_id, device_id, end_user_id)


async def read_many(connection: Connection, world_id: int, device_ids: list[str]) -> list[DeviceRow]:
    """The rows of the devices in `device_ids` that exist."""
    return await fetch_rows(connection, DeviceRow, READ_MANY, world_id, device_ids)


async def list_page(
    connection: Connection, world_id: int, asked: PageWindow, end_user_id: str | None, bound: bool | None
) -> list[DeviceRow]:
    """Rows of one page, plus one that tells whether more follow. With `end_user_id`, `bound` is ignored."""
    given = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if end_user_id is not None:
        name, given = "of_end_user", (*given, end_user_id)
    else:
        name = "all" if bound is None else "bound" if bound else "unbound"
    from_the_start = asked.offset == 0 and name == "all"
    return await fetch_rows(connection, DeviceRow, LIST_FROM_START if from_the_start else LISTS[name], *given)


async def bind(
    connection: Connection,
    world_id: int,
    device_id: str,
    end_user_id: str,
    public_key: str | None,
    now: datetime,
) -> DeviceRow | None:
    """Bind a device, and return its row. None when there is no such device, or when it is bound already."""
    return await fetch_row(connection, DeviceRow, BIND, world_id, device_id, end_user_id, public_key, now)


async def unbind(connection: Connection, world_id: int, device_id: str, now: datetime) -> DeviceRow | None:
    """Unbind a device, and return its row. None when there is no such device, or when it is not bound.

    A name that the device got in the binding is erased.
    """
    return await fetch_row(connection, DeviceRow, UNBIND, world_id, device_id, now)


async def lock_binding(connection: Connection, world_id: int, device_id: str) -> LockedBindingRow | None:
    """The binding of a device, whose row is locked until the transaction ends. None: no such device."""
    return await fetch_row(connection, LockedBindingRow, LOCK_BINDING, world_id, device_id)


async def unbind_all(
    connection: Connection, world_id: int, end_user_id: str, now: datetime
) -> list[UnboundRow]:
    """As `unbind`, of all devices of an end user. Returns their rows, each with its `project_id`."""
    return await fetch_rows(connection, UnboundRow, UNBIND_ALL, world_id, end_user_id, now)


async def find(
    connection: Connection, world_id: int, device_id: str, only: str | None
) -> DeviceSummary | None:
    """A device, if the caller may see it."""
    return await fetch_row(connection, DeviceSummary, FIND, world_id, device_id, only)


async def lock(connection: Connection, world_id: int, device_id: str) -> DeviceSummary | None:
    """As `find`, for any caller. The device's row is locked until the transaction ends."""
    return await fetch_row(connection, DeviceSummary, LOCK, world_id, device_id, None)


async def lock_to_delete(connection: Connection, world_id: int, device_id: str) -> LockedDeviceRow | None:
    """Lock a device to delete it, and return its end user.

    Until the transaction ends, no other transaction can store a row about the device.
    """
    return await fetch_row(connection, LockedDeviceRow, LOCK_TO_DELETE, world_id, device_id)


async def delete(connection: Connection, world_id: int, device_id: str, now: datetime) -> None:
    """Empty a locked device's row and mark it as deleted."""
    await connection.execute(DELETE, world_id, device_id, now)


async def update(
    connection: Connection,
    world_id: int,
    device_id: str,
    now: datetime,
    *,
    name: tuple[bool, str | None] = (False, None),
    firmware_version: tuple[bool, str | None] = (False, None),
    metadata: tuple[bool, str] = (False, "{}"),
    settings: tuple[bool, str] = (False, "{}"),
) -> SeenRow | None:
    """Change a device, and return its row. Each field is a pair: whether it is given, and its value."""
    return await fetch_row(
        connection, SeenRow, UPDATE, world_id, device_id, now, *name, *firmware_version, *metadata, *settings
    )


async def lock_settings(connection: Connection, world_id: int, device_id: str) -> str | None:
    """The JSON text of a device's settings. The device's row is locked until the transaction ends."""
    return await fetch_value(connection, str, LOCK_SETTINGS, world_id, device_id)


async def counts(
    connection: Connection, world_id: int, online_since: datetime, low_percent: int, end_user_id: str | None
) -> CountsRow:
    """Counts of an end user's devices, or of all (None): all, online, low battery, storage full."""
    asked = (world_id, online_since, low_percent)
    if end_user_id is None:
        return await fetch_only_row(connection, CountsRow, COUNTS, *asked)
    return await fetch_only_row(connection, CountsRow, COUNTS_OF_END_USER, *asked, end_user_id)


async def synced(
    connection: Connection,
    world_id: int,
    device_id: str,
    end_user_id: str,
    by: ConnectionKind | None,
    now: datetime,
) -> None:
    """Store the time and the connection of a complete upload, unless another end user wears the device."""
    await connection.execute(SYNCED, world_id, device_id, now, by, end_user_id)
