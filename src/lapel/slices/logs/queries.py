"""The one statement of the request log: it touches no table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection

# A payload has less than 8,000 bytes.
NOTIFY_ALL = "SELECT pg_notify($1, p.payload) FROM unnest($2::text[]) AS p (payload)"


async def notify_all(connection: Connection, channel: str, payloads: Sequence[bytes]) -> None:
    """Send each payload, UTF-8, to the processes that listen on the channel."""
    await connection.execute(NOTIFY_ALL, channel, [each.decode() for each in payloads])
