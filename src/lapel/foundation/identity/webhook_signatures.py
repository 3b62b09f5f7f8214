"""The signed headers of a webhook delivery, and the secrets that sign.

Each delivery carries two signatures over the same bytes: `X-Bota-Signature`, whose key is the text of the
secret, and that of Standard Webhooks, whose key is the 32 bytes that the secret encodes.

Source: Standard Webhooks 1.0.0
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

from lapel import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret(random: bytes) -> str:
    """The secret that encodes 32 random bytes. Raises ValueError for another number of bytes."""
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a webhook's secret encodes {SECRET_BYTES} bytes, not {len(random)}")
    return PREFIX + base64.b64encode(random).decode()


def delivery_headers(
    event_id: str, sequence: int, body: bytes, *, timestamp: int, secrets: Sequence[str]
) -> dict[str, str]:
    """All headers of one attempt, except Host and Content-Length.

    `sequence`: the event's position in its world. `timestamp`: Unix seconds of the attempt. `secrets`: all
    valid secrets, newest first. `X-Bota-Signature` is made with the first one; `webhook-signature` has one
    signature for each.

    Raises ValueError when there is no secret, or a secret is malformed.
    """
    if not secrets:
        raise ValueError("a delivery needs at least one secret")
    signed_at = str(timestamp)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Lapel/{__version__}",
        "X-Bota-Timestamp": signed_at,
        "X-Bota-Signature": bota_signature(secrets[0], timestamp, body),
        "X-Bota-Event-Id": event_id,
        "X-Lapel-Sequence": str(sequence),
        "webhook-id": event_id,
        "webhook-timestamp": signed_at,
        "webhook-signature": " ".join(
            standard_signature(secret, event_id, timestamp, body) for secret in secrets
        ),
    }


def bota_signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and 64 hexadecimal digits: HMAC-SHA256 over `<timestamp>.<body>`; the key is the whole secret."""
    return "v1=" + hmac.digest(secret.encode(), b"%d.%b" % (timestamp, body), "sha256").hex()


def standard_signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and base64: HMAC-SHA256 over `<id>.<timestamp>.<body>`; the key is the bytes of the secret.

    Raises ValueError when the secret is malformed.
    """
    signed = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()


def _key(secret: str) -> bytes:
    """The bytes that a secret encodes."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"a webhook's secret begins with {PREFIX}")
    return base64.b64decode(secret[len(PREFIX) :], validate=True)
