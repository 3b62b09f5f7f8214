"""The look-up of device tokens. It takes no world, because the token determines it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from lapel.foundation.core.rate_limit import RateLimit
from lapel.foundation.database.rows import fetch_found
from lapel.foundation.identity.token_kinds import TOKENS, Found, HolderRow, TokenKind, actor_of, arrays_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.core.actors import Actor
    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.token_kinds import LookUp

# This prefix also stands in the examples in devices/wire.py, and in the pattern that hides tokens in logs
# (`_SECRETS` in foundation/telemetry.py).
PREFIX: Final = "dtok"


class DeviceHolderRow(HolderRow, frozen=True):
    """A working token of a device."""

    state: Literal["current", "refreshing", "fresh"]
    token_hash: bytes
    binding_generation: int
    end_user_id: str | None


FIND_DEVICE = f"""
SELECT asked.place, t.world_id, t.device_id AS id, w.project_id, w.mode, t.state, t.token_hash,
    t.binding_generation, d.end_user_id
FROM {TOKENS}
JOIN device_tokens t ON t.token_hash = asked.token_hash
JOIN devices d ON d.world_id = t.world_id AND d.id = t.device_id
JOIN worlds w ON w.id = t.world_id
WHERE t.binding_generation = d.binding_generation AND d.deleted_at IS NULL
"""

# The first use of a fresh token makes it the current token, and deletes its predecessor. The device's row is
# locked meanwhile, because a refresh with the predecessor may replace the fresh token at the same moment.
LOCK_DEVICE = "SELECT 1 FROM devices WHERE world_id = $1 AND id = $2 FOR NO KEY UPDATE"
END_REFRESHING = """
DELETE FROM device_tokens WHERE world_id = $1 AND device_id = $2 AND state = 'refreshing'
  AND EXISTS (SELECT 1 FROM device_tokens f WHERE f.token_hash = $3 AND f.state = 'fresh')
"""
PROMOTE_FRESH = "UPDATE device_tokens SET state = 'current' WHERE token_hash = $1 AND state = 'fresh'"


async def _find(connection: Connection, asked: Sequence[LookUp]) -> list[Found | None]:
    rows = await fetch_found(connection, DeviceHolderRow, FIND_DEVICE, len(asked), *arrays_of(asked))
    return [None if row is None else _found(row) for row in rows]


def _found(row: DeviceHolderRow) -> Found:
    actor = actor_of(
        row,
        "device",
        end_user_id=row.end_user_id,
        binding_generation=row.binding_generation,
        refresh_only=row.state == "refreshing",
        token_hash=row.token_hash,
    )
    return Found(actor, first_use=partial(_promote, actor) if row.state == "fresh" else None)


async def _promote(device: Actor, connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute(LOCK_DEVICE, device.world_id, device.id)
        await connection.execute(END_REFRESHING, device.world_id, device.id, device.token_hash)
        await connection.execute(PROMOTE_FRESH, device.token_hash)


DEVICE_TOKEN = TokenKind(
    name="device",
    prefixes=(PREFIX,),
    find=_find,
    unknown=(
        "This device token is unknown, was replaced by a newer one, or was revoked. Use the device's newest "
        "token. If it has none, bind the device again."
    ),
    holder="a device token",
    scheme="deviceToken",
    description=f"A device's token (`{PREFIX}_`), issued when the device is bound.",
    direct=True,
    bucket=RateLimit("device", lambda settings: settings.device_per_minute),
    me="device_id",
)
