"""The fingerprint of the installation's secret in the database.

Machines with another secret would start, and refuse every key. If the recorded secret is loaded as the
present or the previous secret, the machine belongs to the installation, and its present secret is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.database.rows import fetch_value
from lapel.foundation.identity.seal import secret_id

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database.connection import Connection
    from lapel.settings import Settings

# Machines that start at once record one after the other.
TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('installation secret', 0))"
FIND_FINGERPRINT = "SELECT fingerprint FROM installation_secret"
RECORD_FINGERPRINT = """
INSERT INTO installation_secret (fingerprint, recorded_at) VALUES ($1, $2)
ON CONFLICT (only_row) DO UPDATE SET fingerprint = excluded.fingerprint, recorded_at = excluded.recorded_at
WHERE installation_secret.fingerprint <> excluded.fingerprint
"""


def accepted_secrets(settings: Settings) -> list[str]:
    """The present secret and, if there is one, the other secret that is accepted."""
    return [each for each in (settings.secret, settings.secret_previous) if each]


def loaded_secrets(settings: Settings) -> list[str]:
    """The fingerprints of the present secret and, if there is one, of the previous secret."""
    return [secret_id(each) for each in accepted_secrets(settings)]


async def find_fingerprint(connection: Connection) -> str | None:
    """The recorded fingerprint; None before the first start."""
    return await fetch_value(connection, str, FIND_FINGERPRINT)


async def take_turn(connection: Connection) -> None:
    """Wait until no other transaction compares or records the fingerprint."""
    await connection.execute(TAKE_TURN)


async def record_fingerprint(connection: Connection, fingerprint: str, now: datetime) -> None:
    """Record the fingerprint of the present secret."""
    await connection.execute(RECORD_FINGERPRINT, fingerprint, now)
