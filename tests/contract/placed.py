"""A thing with its tokens; and what a worker does of itself, written without a worker."""

from __future__ import annotations

from dataclasses import dataclass

from lapel.foundation.ports import Ports
from tests.support.tenants import Tenant

PLACE_EVENT = """
UPDATE events SET position = 1 WHERE world_id = $1 AND id = (
    SELECT id FROM events WHERE world_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1)
RETURNING id
"""
MAKE_DELIVERY = """
INSERT INTO webhook_deliveries
    (world_id, id, webhook_id, event_id, resource_id, position, state, due_at, created_at)
SELECT $1, $2, $3, id, resource_id, 1, 'pending', $4, $4 FROM events
WHERE world_id = $1 ORDER BY created_at LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Thing:
    """An id with the tokens that belong to it."""

    id: str
    token: str = ""


async def place_event(ports: Ports, tenant: Tenant) -> str:
    """The id of the world's newest event, which gets a place in the stream as the worker gives it."""
    async with ports.database.acquire() as connection:
        return await connection.fetchval(PLACE_EVENT, tenant.test_world)


async def make_delivery(ports: Ports, tenant: Tenant, webhook_id: str) -> str:
    """The id of a delivery of the world's first event, as the worker makes it."""
    made = ports.ids.new("whd")
    async with ports.database.acquire() as connection:
        await connection.execute(MAKE_DELIVERY, tenant.test_world, made, webhook_id, ports.clock.now())
    return made
