"""Writes events as slices do, and gives them positions as the worker does."""

from __future__ import annotations

from lapel.foundation.database import outbox
from lapel.foundation.ports import Ports

BODY = "SELECT body FROM events WHERE world_id = $1 AND id = $2"


async def write(
    ports: Ports,
    world_id: int,
    name: str,
    *,
    type: str = "recording.deleted",  # noqa: A002 - the contract's word
    data: bytes | None = None,
    test_for: str | None = None,
) -> str:
    """A committed event about the resource `name`; returns its id."""
    data = data or b'{"id":"%b"}' % name.encode()
    async with ports.database.transaction() as connection:
        return await outbox.publish(
            connection,
            ports.ids,
            ports.clock.now(),
            world_id=world_id,
            type=type,
            resource_id=name,
            data=data,
            dedupe=f"{type}:{name}",
            test_for=test_for,
        )


async def place(ports: Ports, limit: int = 1000) -> list[outbox.PlacedRow]:
    """Give positions to all committed events, `limit` at a time; returns these events."""
    found: list[outbox.PlacedRow] = []
    while True:
        async with ports.database.transaction() as connection:
            assert await outbox.lock_positions(connection)
            waiting = await outbox.waiting(connection, 0, limit, limit)
            if not waiting:
                return found
            found += await outbox.place(connection, waiting[:limit])


async def body_of(ports: Ports, world_id: int, event_id: str) -> bytes:
    """The frozen bytes of an event."""
    async with ports.database.acquire() as connection:
        return await connection.fetchval(BODY, world_id, event_id)
