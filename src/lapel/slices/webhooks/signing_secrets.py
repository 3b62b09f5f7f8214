"""The secrets that sign deliveries: `whsec_` and the base64 of 32 random bytes.

The server signs with them, so it must be able to read them: they are stored sealed.

Source: Standard Webhooks, "Signature scheme".
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

from lapel.foundation.identity import webhook_signatures
from lapel.foundation.identity.sealed_values import SealedValue
from lapel.slices.webhooks import queries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.seal import Sealer


def new_secret() -> str:
    """A fresh secret of 256 random bits."""
    return webhook_signatures.new_secret(secrets.token_bytes(webhook_signatures.SECRET_BYTES))


def sealed(sealer: Sealer, world_id: int, webhook_id: str, secret: str) -> bytes:
    """A secret, encrypted for storage. It can be opened for the same webhook only."""
    return sealer.seal(secret.encode(), _context(world_id, webhook_id))


def opened(sealer: Sealer, world_id: int, webhook_id: str, sealed_secret: bytes) -> str:
    """A stored secret.

    Raises SealBroken when it was sealed for another webhook, or under a server's secret that is not known
    any more.
    """
    return sealer.open(sealed_secret, _context(world_id, webhook_id)).decode()


async def walk_sealed_secrets(connection: Connection, batch: int) -> AsyncGenerator[list[SealedValue]]:
    """The secrets of all webhooks, as they are stored; of so many webhooks in each batch."""
    async for rows in queries.walk_sealed(connection, batch):
        found: list[SealedValue] = []
        for row in rows:
            context = _context(row.world_id, row.id)
            found.append(SealedValue(row.sealed_secret, context, partial(queries.reseal, row)))
            if row.sealed_previous_secret is not None:
                replace = partial(queries.reseal_previous, row)
                found.append(SealedValue(row.sealed_previous_secret, context, replace))
        yield found


def _context(world_id: int, webhook_id: str) -> bytes:
    return f"webhook:{world_id}:{webhook_id}".encode()
