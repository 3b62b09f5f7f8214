"""Events for other systems, written in the transaction that caused them.

The body's bytes are frozen here: every delivery of the event sends exactly these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.clock import timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from lapel.foundation.database import Connection
    from lapel.foundation.ids import Ids


class Envelope(msgspec.Struct, frozen=True):
    """What a webhook receives."""

    id: str
    type: str
    created_at: str
    data: msgspec.Raw


INSERT_EVENT = """
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (world_id, dedupe) DO NOTHING
"""

ERASE_EVENTS = "DELETE FROM events WHERE world_id = $1 AND resource_id = ANY($2::text[])"


async def publish(
    connection: Connection,
    ids: Ids,
    now: datetime,
    *,
    world_id: int,
    type: str,  # noqa: A002 - the contract's word
    resource_id: str,
    data: bytes,
    dedupe: str | None = None,
) -> None:
    """Write one event. `data` is the JSON of the resource as GET answers it.

    `dedupe` names what may happen once only (default: this type for this resource); the
    second event of the same name in a world is dropped.
    """
    event_id = ids.new("evt")
    body = msgspec.json.encode(
        Envelope(id=event_id, type=type, created_at=timestamp(now), data=msgspec.Raw(data))
    )
    await connection.execute(
        INSERT_EVENT, world_id, event_id, type, resource_id, dedupe or f"{type}:{resource_id}", body, now
    )


async def erase(connection: Connection, world_id: int, resource_ids: list[str]) -> None:
    """Erase what the events say of erased resources (the events go with it)."""
    await connection.execute(ERASE_EVENTS, world_id, resource_ids)
