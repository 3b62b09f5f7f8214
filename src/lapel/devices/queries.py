"""All SQL of devices.

Whoever changes a device's tokens holds the device's row first: binding, unbinding, refreshing
and the first use of a fresh token (foundation/auth.py) follow one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from lapel.foundation.database import Connection
    from lapel.foundation.pages import Window

_COLUMNS = """id, serial_number, model, name, firmware_version, end_user_id, binding_generation, bound_at,
    battery_percent, storage_used_mb, storage_total_mb, signal_strength_dbm, last_heartbeat_at, last_seen_at,
    last_synced_at, recording_state, metadata, settings, created_at, updated_at"""

INSERT = f"""
INSERT INTO devices
    (world_id, id, serial_number, model, name, firmware_version, metadata, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
ON CONFLICT (world_id, serial_number) WHERE deleted_at IS NULL DO NOTHING
RETURNING {_COLUMNS}
"""

READ_BY_SERIAL = f"""
SELECT {_COLUMNS} FROM devices WHERE world_id = $1 AND serial_number = $2 AND deleted_at IS NULL
"""

# $3: the end user whose devices the caller may see; NULL for one who may see all.
READ = f"""
SELECT {_COLUMNS} FROM devices
WHERE world_id = $1 AND id = $2 AND ($3::text IS NULL OR end_user_id = $3)
"""

# Four lists, not one with `OR` in it: each has its own index under a prepared plan.
LIST = f"""
SELECT {_COLUMNS} FROM devices
WHERE world_id = $1 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_BOUND = f"""
SELECT {_COLUMNS} FROM devices
WHERE world_id = $1 AND (created_at, id) < ($2, $3) AND end_user_id IS NOT NULL
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_UNBOUND = f"""
SELECT {_COLUMNS} FROM devices
WHERE world_id = $1 AND (created_at, id) < ($2, $3) AND end_user_id IS NULL
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

LIST_OF_END_USER = f"""
SELECT {_COLUMNS} FROM devices
WHERE world_id = $1 AND end_user_id = $6 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5
"""

# Of two at once the second waits for the row, and then finds it taken.
BIND = f"""
UPDATE devices SET end_user_id = $3, public_key = $4, bound_at = $5, updated_at = $5,
    binding_generation = binding_generation + 1
WHERE world_id = $1 AND id = $2 AND end_user_id IS NULL
RETURNING {_COLUMNS}
"""

UNBIND = f"""
UPDATE devices SET end_user_id = NULL, public_key = NULL, bound_at = NULL, updated_at = $3
WHERE world_id = $1 AND id = $2 AND end_user_id IS NOT NULL
RETURNING {_COLUMNS}
"""

UNBIND_ALL = f"""
UPDATE devices SET end_user_id = NULL, public_key = NULL, bound_at = NULL, updated_at = $3
WHERE world_id = $1 AND end_user_id = $2
RETURNING {_COLUMNS}, (SELECT w.project_id FROM worlds w WHERE w.id = devices.world_id) AS project_id
"""

# The binding and the token that a refresh was called with, while the row is held.
HOLD = "SELECT binding_generation FROM devices WHERE world_id = $1 AND id = $2 FOR NO KEY UPDATE"

TOKEN_LIVES = """
SELECT 1 FROM device_tokens WHERE world_id = $1 AND device_id = $2 AND token_hash = $3
"""

DELETE_TOKENS = "DELETE FROM device_tokens WHERE world_id = $1 AND device_id = ANY($2::text[])"

DELETE_OTHER_TOKENS = """
DELETE FROM device_tokens WHERE world_id = $1 AND device_id = $2 AND token_hash <> $3
"""

KEEP_FOR_REFRESH = """
UPDATE device_tokens SET state = 'refreshing' WHERE world_id = $1 AND device_id = $2 AND token_hash = $3
"""

INSERT_TOKEN = """
INSERT INTO device_tokens (token_hash, world_id, device_id, binding_generation, state, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
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
) -> asyncpg.Record | None:
    """The new row; None when the serial number is registered."""
    return await connection.fetchrow(
        INSERT, world_id, device_id, serial_number, model, name, firmware_version, metadata, now
    )


async def read_by_serial(connection: Connection, world_id: int, serial_number: str) -> asyncpg.Record | None:
    """The device with this serial number."""
    return await connection.fetchrow(READ_BY_SERIAL, world_id, serial_number)


async def read(
    connection: Connection, world_id: int, device_id: str, only: str | None
) -> asyncpg.Record | None:
    """One device, if the caller may see it."""
    return await connection.fetchrow(READ, world_id, device_id, only)


async def list_page(
    connection: Connection, world_id: int, asked: Window, end_user_id: str | None, bound: bool | None
) -> list[asyncpg.Record]:
    """Rows of one page, one more than it shows; an end user's devices are bound ones."""
    window = (world_id, asked.before_time, asked.before_id, asked.fetch, asked.offset)
    if end_user_id is not None:
        return await connection.fetch(LIST_OF_END_USER, *window, end_user_id)
    if bound is None:
        return await connection.fetch(LIST, *window)
    return await connection.fetch(LIST_BOUND if bound else LIST_UNBOUND, *window)


async def bind(
    connection: Connection,
    world_id: int,
    device_id: str,
    end_user_id: str,
    public_key: str | None,
    now: datetime,
) -> asyncpg.Record | None:
    """The bound row; None when there is no such device, or it is bound."""
    return await connection.fetchrow(BIND, world_id, device_id, end_user_id, public_key, now)


async def unbind(
    connection: Connection, world_id: int, device_id: str, now: datetime
) -> asyncpg.Record | None:
    """The unbound row; None when there is no such device, or it was not bound."""
    return await connection.fetchrow(UNBIND, world_id, device_id, now)


async def unbind_all(
    connection: Connection, world_id: int, end_user_id: str, now: datetime
) -> list[asyncpg.Record]:
    """The rows that were bound to this end user, each with its `project_id`."""
    return await connection.fetch(UNBIND_ALL, world_id, end_user_id, now)


async def hold(connection: Connection, world_id: int, device_id: str) -> int | None:
    """The device's binding generation; its tokens are ours until the transaction ends."""
    return await connection.fetchval(HOLD, world_id, device_id)


async def token_lives(connection: Connection, world_id: int, device_id: str, token_hash: bytes) -> bool:
    """Whether this token has not been revoked or replaced for good."""
    return await connection.fetchval(TOKEN_LIVES, world_id, device_id, token_hash) is not None


async def delete_tokens(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Revoke every token of these devices."""
    await connection.execute(DELETE_TOKENS, world_id, device_ids)


async def delete_other_tokens(
    connection: Connection, world_id: int, device_id: str, token_hash: bytes
) -> None:
    """Revoke every token of a device but one."""
    await connection.execute(DELETE_OTHER_TOKENS, world_id, device_id, token_hash)


async def keep_for_refresh(connection: Connection, world_id: int, device_id: str, token_hash: bytes) -> None:
    """Let a token do nothing any more but ask for its replacement again."""
    await connection.execute(KEEP_FOR_REFRESH, world_id, device_id, token_hash)


async def insert_token(
    connection: Connection,
    world_id: int,
    device_id: str,
    token_hash: bytes,
    binding_generation: int,
    state: str,
    now: datetime,
) -> None:
    """Store a new token."""
    await connection.execute(INSERT_TOKEN, token_hash, world_id, device_id, binding_generation, state, now)
