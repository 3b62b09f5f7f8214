"""All SQL of devices' tokens. `devices/queries.py` describes the locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lapel.foundation.database.rows import fetch_value

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

# For a refresh: lock the device's row and read its binding, then look for the calling token.
LOCK = """
SELECT binding_generation FROM devices WHERE world_id = $1 AND id = $2 AND deleted_at IS NULL
FOR NO KEY UPDATE
"""

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
INSERT INTO device_tokens
    (token_hash, secret_id, world_id, device_id, binding_generation, state, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


async def lock(connection: Connection, world_id: int, device_id: str) -> int | None:
    """Lock the device's row, which guards its tokens, and return its binding generation."""
    return await fetch_value(connection, int, LOCK, world_id, device_id)


async def token_lives(connection: Connection, world_id: int, device_id: str, token_hash: bytes) -> bool:
    """Whether this token still exists. Revoked and replaced tokens have no row."""
    return await connection.fetchval(TOKEN_LIVES, world_id, device_id, token_hash) is not None


async def delete_tokens(connection: Connection, world_id: int, device_ids: list[str]) -> None:
    """Revoke every token of these devices."""
    await connection.execute(DELETE_TOKENS, world_id, device_ids)


async def delete_other_tokens(
    connection: Connection, world_id: int, device_id: str, token_hash: bytes
) -> None:
    """Revoke every token of a device except this token."""
    await connection.execute(DELETE_OTHER_TOKENS, world_id, device_id, token_hash)


async def keep_for_refresh(connection: Connection, world_id: int, device_id: str, token_hash: bytes) -> None:
    """Restrict a token: from now on it may only ask for its replacement again."""
    await connection.execute(KEEP_FOR_REFRESH, world_id, device_id, token_hash)


async def insert_token(
    connection: Connection,
    world_id: int,
    device_id: str,
    token_hash: bytes,
    secret_id: str,
    binding_generation: int,
    state: Literal["current", "fresh"],
    now: datetime,
) -> None:
    """Store a new token."""
    await connection.execute(
        INSERT_TOKEN, token_hash, secret_id, world_id, device_id, binding_generation, state, now
    )
