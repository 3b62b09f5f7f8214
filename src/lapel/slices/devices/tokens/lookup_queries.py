"""The look-up of device tokens. It takes no world, because the token determines it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from lapel.foundation.core.actors import Mode
from lapel.foundation.core.rate_limit import RateLimit
from lapel.foundation.identity.token_kinds import Found, TokenKind, actor_of

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection

# This prefix also stands in the examples in devices/wire.py, and in the pattern that hides tokens in logs
# (`_SECRETS` in foundation/telemetry.py).
PREFIX: Final = "dtok"


class DeviceHolderRow(msgspec.Struct, frozen=True):
    """A working token of a device. `id` is the device's id."""

    world_id: int
    id: str
    state: Literal["current", "refreshing", "fresh"]
    token_hash: bytes
    binding_generation: int
    end_user_id: str | None
    project_id: str
    mode: Mode


FIND_DEVICE = """
SELECT t.world_id, t.device_id AS id, t.state, t.token_hash, t.binding_generation, d.end_user_id,
       w.project_id, w.mode
FROM device_tokens t
JOIN devices d ON d.world_id = t.world_id AND d.id = t.device_id
JOIN worlds w ON w.id = t.world_id
WHERE t.token_hash = ANY($1::bytea[]) AND t.binding_generation = d.binding_generation AND d.deleted_at IS NULL
"""

# The first use of a fresh token makes it the current token, and deletes its predecessor. The device's row is
# locked meanwhile, because a refresh with the predecessor may replace the fresh token at the same moment.
LOCK_DEVICE = "SELECT 1 FROM devices WHERE world_id = $1 AND id = $2 FOR NO KEY UPDATE"
END_REFRESHING = """
DELETE FROM device_tokens WHERE world_id = $1 AND device_id = $2 AND state = 'refreshing'
  AND EXISTS (SELECT 1 FROM device_tokens f WHERE f.token_hash = $3 AND f.state = 'fresh')
"""
PROMOTE_FRESH = "UPDATE device_tokens SET state = 'current' WHERE token_hash = $1 AND state = 'fresh'"


async def _find(connection: Connection, hashes: list[bytes], _now: datetime) -> Found | None:
    # Without `fetch_row`, which takes about 1 µs more; tests/contract/test_rows.py compares the names.
    record = await connection.fetchrow(FIND_DEVICE, hashes)
    if record is None:
        return None
    row = DeviceHolderRow(*record)
    if row.state == "fresh":
        await _promote(connection, row)
        record = await connection.fetchrow(FIND_DEVICE, [row.token_hash])
        if record is None:
            return None
        row = DeviceHolderRow(*record)
    actor = actor_of(
        row,
        "device",
        end_user_id=row.end_user_id,
        binding_generation=row.binding_generation,
        refresh_only=row.state == "refreshing",
        token_hash=row.token_hash,
    )
    return Found(actor)


async def _promote(connection: Connection, row: DeviceHolderRow) -> None:
    async with connection.transaction():
        await connection.execute(LOCK_DEVICE, row.world_id, row.id)
        await connection.execute(END_REFRESHING, row.world_id, row.id, row.token_hash)
        await connection.execute(PROMOTE_FRESH, row.token_hash)


DEVICE_TOKEN = TokenKind(
    name="device",
    prefixes=(PREFIX,),
    find=_find,
    unknown="This device token is unknown or was revoked. Bind the device again.",
    holder="a device token",
    scheme="deviceToken",
    description=f"A device's token (`{PREFIX}_`), issued when the device is bound.",
    direct=True,
    bucket=RateLimit("device", lambda settings: settings.device_per_minute),
    me="device_id",
)
