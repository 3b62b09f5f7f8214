"""What must be over before a system is judged."""

from __future__ import annotations

import asyncio

import asyncpg

from tests.faults.rest import empty

ERASED = """
INSERT INTO organizations (id, name, created_at) VALUES ('org_1', 'At rest', now());
INSERT INTO projects (id, organization_id, name, created_at) VALUES ('proj_1', 'org_1', 'At rest', now());
INSERT INTO worlds (id, project_id, mode) OVERRIDING SYSTEM VALUE VALUES (1, 'proj_1', 'live');
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, erased)
VALUES (1, 'evt_1', 'recording.created', 'rec_1', 'evt_1', '{}', now(), true)
"""


async def test_a_system_with_an_erased_event_is_not_at_rest(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    other = await asyncpg.connect(fresh_database)
    try:
        await connection.execute(ERASED)
        resting = asyncio.create_task(empty(other))
        await asyncio.sleep(0.2)
        assert not resting.done()
        await connection.execute("DELETE FROM events")
        await resting
    finally:
        await connection.close()
        await other.close()
