"""The secrets that sign deliveries: `whsec_` and the base64 of 32 random bytes.

The server signs with them, so it must be able to read them: they are stored sealed.

Source: Standard Webhooks, "Signature scheme".
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from lapel.foundation.identity import webhook_signatures

if TYPE_CHECKING:
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


def _context(world_id: int, webhook_id: str) -> bytes:
    return f"webhook:{world_id}:{webhook_id}".encode()
