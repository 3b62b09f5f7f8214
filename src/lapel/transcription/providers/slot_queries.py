"""All SQL of the slots: who answers a provider's name in a world."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from lapel.foundation.database import Connection

READ = """
SELECT slot, engine, model, base_url, sealed_key, updated_at FROM provider_slots
WHERE world_id = $1 AND slot = $2
"""
LIST = "SELECT slot, engine, model, base_url, sealed_key, updated_at FROM provider_slots WHERE world_id = $1"
PUT = """
INSERT INTO provider_slots (world_id, slot, engine, model, base_url, sealed_key, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT (world_id, slot) DO UPDATE SET engine = excluded.engine, model = excluded.model,
    base_url = excluded.base_url, sealed_key = excluded.sealed_key, updated_at = excluded.updated_at
"""
DELETE = "DELETE FROM provider_slots WHERE world_id = $1 AND slot = $2"

# The operator's: of all projects. The world is held, so that its slots change one after the other.
LIST_PROJECTS = "SELECT id, name FROM projects ORDER BY created_at, id LIMIT 1000"
HOLD_WORLD = "SELECT id FROM worlds WHERE project_id = $1 AND mode = $2 FOR NO KEY UPDATE"
LIST_KEYS = """
SELECT s.world_id, s.slot, s.engine, s.base_url, s.sealed_key, w.project_id, w.mode
FROM provider_slots s JOIN worlds w ON w.id = s.world_id
WHERE s.sealed_key IS NOT NULL ORDER BY w.project_id, w.mode, s.slot
"""
FIND_WORLD = "SELECT id FROM worlds WHERE project_id = $1 AND mode = $2"


async def read(connection: Connection, world_id: int, slot: str) -> asyncpg.Record | None:
    """Who answers a slot: `slot`, `engine`, `model`, `base_url`, `sealed_key`, `updated_at`; None: nobody."""
    return await connection.fetchrow(READ, world_id, slot)


async def list_slots(connection: Connection, world_id: int) -> list[asyncpg.Record]:
    """The same of every slot for which somebody is set."""
    return await connection.fetch(LIST, world_id)


async def put(
    connection: Connection,
    world_id: int,
    slot: str,
    engine: str,
    model: str | None,
    base_url: str | None,
    sealed_key: bytes | None,
    now: datetime,
) -> None:
    """Let this engine answer the slot, and no other."""
    await connection.execute(PUT, world_id, slot, engine, model, base_url, sealed_key, now)


async def delete(connection: Connection, world_id: int, slot: str) -> None:
    """Let the local engine answer the slot."""
    await connection.execute(DELETE, world_id, slot)


async def list_projects(connection: Connection) -> list[asyncpg.Record]:
    """(`id`, `name`) of the projects, oldest first."""
    return await connection.fetch(LIST_PROJECTS)


async def list_keys(connection: Connection) -> list[asyncpg.Record]:
    """The slots of all projects that have a key of their own, with `project_id` and `mode`."""
    return await connection.fetch(LIST_KEYS)


async def find_world(connection: Connection, project_id: str, mode: str) -> int | None:
    """A project's world."""
    return await connection.fetchval(FIND_WORLD, project_id, mode)


async def hold_world(connection: Connection, project_id: str, mode: str) -> int | None:
    """A project's world; it is ours until the transaction ends."""
    return await connection.fetchval(HOLD_WORLD, project_id, mode)
