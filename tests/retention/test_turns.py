"""How a run takes the worlds in turn: none of them waits for ever, and none stops the others."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import asyncpg
import pytest

from lapel.foundation.ports import Ports
from tests.recordings.support import Device
from tests.retention.support import DAY, after, hold, keep
from tests.support.locks import until_waiting
from tests.support.tenants import make_tenant

RULE_OF_ORGANIZATION = """
INSERT INTO organization_config_overrides (organization_id, mode, section, value, revision, updated_at)
SELECT p.organization_id, 'test', 'retention', '{"recordings_days": 1}', 1, $2 FROM projects p WHERE p.id = $1
"""
SIBLINGS = """
WITH added AS (
    INSERT INTO projects (id, organization_id, name, created_at)
    SELECT p.id || n, p.organization_id, 'x', now() FROM projects p, generate_series(1, 30) n WHERE p.id = $1
    RETURNING id
)
INSERT INTO worlds (project_id, mode) SELECT id, 'test' FROM added
"""
CANCEL = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def another(device: Device, ports: Ports) -> Device:
    """Somebody of another project, with a rule."""
    tenant = await make_tenant(ports)
    other = Device(device.client, tenant, tenant.headers)
    await keep(other, recordings_days=1)
    return other


async def test_worlds_in_which_nothing_is_due_take_no_turns(device: Device, ports: Ports) -> None:
    """An organization's rule is a rule of each of its projects."""
    recording_id = await device.recording()
    async with ports.database.acquire() as connection:
        project = device.tenant.project_id
        await connection.execute(SIBLINGS, project)
        await connection.execute(RULE_OF_ORGANIZATION, project, ports.clock.now())
    for _ in range(3):
        await another(device, ports)
    assert await after(ports, 3 * DAY, turns=1).run() == {"recording": 1, "audio": 0}
    await device.call("GET", f"/v1/recordings/{recording_id}", 404)


async def test_runs_begin_with_different_worlds(device: Device, ports: Ports) -> None:
    """Held recordings take turns in every run, so more worlds than turns have something to do."""
    await keep(device, recordings_days=1)
    worlds = [device, *[await another(device, ports) for _ in range(4)]]
    held = {}
    for each in worlds:
        held[each.tenant.test_world] = await each.recording()
        await hold(each, held[each.tenant.test_world])
    free = [await each.recording() for each in worlds]
    random = Random(7)
    for _ in range(40):
        await after(ports, 3 * DAY, turns=2, random=random).run()
    for each, recording_id in zip(worlds, free, strict=True):
        await each.call("GET", f"/v1/recordings/{recording_id}", 404)
        await each.read(held[each.tenant.test_world])


@pytest.mark.parametrize("waits", ["database", "client"])
async def test_a_world_whose_statements_take_too_long_does_not_stop_the_others(
    device: Device, ports: Ports, waits: str
) -> None:
    await keep(device, recordings_days=1)
    worlds = [device, *[await another(device, ports) for _ in range(3)]]
    recordings = [await each.recording() for each in worlds]
    stuck = recordings[1]

    async def take_long(connection: asyncpg.Connection[Any], world_id: int, recording_ids: list[str]) -> None:
        if stuck not in recording_ids:
            return
        if waits == "database":
            await connection.execute("SET LOCAL statement_timeout = '10ms'")
            await connection.execute("SELECT pg_sleep(600)")
        await connection.execute("SELECT pg_sleep(600)", timeout=0.01)

    run = after(ports, 3 * DAY)
    run._recordings.on_delete.append(take_long)
    assert (await run.run())["recording"] == 3
    await worlds[1].read(stuck)
    assert (await after(ports, 3 * DAY).run())["recording"] == 1


async def test_a_world_whose_search_takes_too_long_counts_as_late(device: Device, ports: Ports) -> None:
    await keep(device, recordings_days=1)
    assert await after(ports, 3 * DAY).find_late() == (1, 0)
    async with ports.database.transaction() as connection:
        await connection.execute("LOCK TABLE recordings IN ACCESS EXCLUSIVE MODE")
        search = asyncio.create_task(after(ports, 3 * DAY).find_late())
        await until_waiting(ports, 1)
        await connection.execute(CANCEL)
        assert await search == (1, 1)
