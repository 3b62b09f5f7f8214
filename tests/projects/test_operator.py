"""What the operator does without a key: projects, any key, the first key; and when keys were used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from lapel.foundation.core.clock import ManualClock
from lapel.foundation.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from lapel.foundation.database.pool import Database
from lapel.foundation.ports import Ports, open_ports
from lapel.slices.projects.operator import OperatorKeys, ensure_first_key
from lapel.slices.projects.scopes import SCOPES
from lapel.slices.projects.service import Projects
from lapel.slices.projects.usage import KeyUse
from tests.support.running import settings_for
from tests.support.tenants import Tenant, bearer

LAST_USED = "SELECT last_used_at FROM api_keys WHERE world_id = $1 AND id = $2"


@pytest.fixture
async def own_ports(fresh_database: str, tmp_path: Path) -> AsyncGenerator[Ports]:
    """Ports as a command opens them, on an installation that nobody used yet."""
    clock = ManualClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
    async with open_ports(settings_for(tmp_path, fresh_database, 8080), clock=clock) as ports:
        yield ports


async def until_used(ports: Ports, world_id: int, key_id: str) -> datetime:
    """When a key was last used, as soon as that is written."""
    for _ in range(600):
        async with ports.database.acquire() as connection:
            used: datetime | None = await connection.fetchval(LAST_USED, world_id, key_id)
        if used is not None:
            return used
        await asyncio.sleep(0.05)
    raise AssertionError("the key's use was never written")


async def test_the_first_start_makes_one_key_however_many_start(own_ports: Ports) -> None:
    answers = await asyncio.gather(*(ensure_first_key(own_ports) for _ in range(5)))
    (first,) = [answer for answer in answers if answer is not None]
    assert first.key.startswith("sk_test_")
    assert (first.mode, first.kind, first.scopes) == ("test", "secret", list(SCOPES))
    (project,) = await Projects(own_ports).list()
    assert first.project_id == project.id
    assert await ensure_first_key(own_ports) is None
    async with own_ports.database.acquire() as connection:
        entries = await connection.fetch("SELECT actor_kind, action FROM audit_log ORDER BY action")
    actions = ("key.created", "project.created", "project.created")
    assert [tuple(row) for row in entries] == [("operator", action) for action in actions]


async def test_the_first_key_is_of_a_project_that_exists(own_ports: Ports) -> None:
    project = await Projects(own_ports).create("Mine")
    first = await ensure_first_key(own_ports)
    assert first is not None
    assert first.project_id == project.id


async def test_projects_are_made_with_two_worlds_in_one_organization(own_ports: Ports) -> None:
    projects = Projects(own_ports)
    made = await asyncio.gather(*(projects.create(f"Project {n}") for n in range(4)))
    assert len({project.organization_id for project in made}) == 1
    assert {project.id for project in await projects.list()} == {project.id for project in made}
    keys = OperatorKeys(own_ports)
    for mode in ("live", "test"):
        key = await keys.create(mode=mode, project_id=made[0].id)
        assert key.key.startswith(f"sk_{mode}_")
    more = await projects.create("More", made[0].organization_id)
    assert more.organization_id == made[0].organization_id
    with pytest.raises(NotFound):
        await projects.create("More", "org_none")
    for name in ("", "n" * 201, "a\0b"):
        with pytest.raises(InvalidRequest):
            await projects.create(name)


async def test_the_operator_names_the_project_only_when_there_are_several(own_ports: Ports) -> None:
    keys, projects = OperatorKeys(own_ports), Projects(own_ports)
    first = await keys.create(mode="live")
    assert [project.id for project in await projects.list()] == [first.project_id]
    assert (await keys.create(mode="test")).project_id == first.project_id
    other = await projects.create("Other")
    with pytest.raises(Conflict, match=other.id):
        await keys.create(mode="test")
    assert (await keys.create(mode="test", project_id=other.id)).project_id == other.id
    with pytest.raises(NotFound):
        await keys.create(mode="test", project_id="proj_none")


async def test_the_operator_makes_restricted_keys(own_ports: Ports) -> None:
    keys = OperatorKeys(own_ports)
    expires_at = own_ports.clock.now() + timedelta(days=1)
    made = await keys.create(mode="test", scopes=["devices:read"], name="cron", expires_at=expires_at)
    assert made.key.startswith("rk_test_")
    assert (made.scopes, made.name, made.expires_at) == (["devices:read"], "cron", "2026-01-16T12:00:00.000Z")
    with pytest.raises(InvalidRequest, match="devices:fly"):
        await keys.create(mode="test", scopes=["devices:fly"])
    with pytest.raises(InvalidRequest):
        await keys.create(mode="test", end_user_id="eu_x")
    with pytest.raises(InvalidRequest):
        await keys.create(mode="test", expires_at=own_ports.clock.now())
    with pytest.raises(NotFound):
        await keys.create(mode="test", scopes=["devices:read"], end_user_id="eu_x")


async def test_the_operator_lists_every_key_of_any_number(own_ports: Ports) -> None:
    keys = OperatorKeys(own_ports)
    made = {(await keys.create(mode="live")).id for _ in range(102)}
    made |= {(await keys.create(mode="test")).id for _ in range(2)}
    found = [key.id async for key in keys.list()]
    assert len(found) == 104
    assert set(found) == made
    with pytest.raises(NotFound):
        await anext(keys.list("proj_none"))


async def test_the_operator_ends_and_replaces_keys_of_a_running_server(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    keys = OperatorKeys(ports)
    made = await keys.create(mode="test", project_id=tenant.project_id)

    async def status(key: str) -> int:
        return (await client.get("/v1/devices", headers=bearer(key))).status_code

    assert await status(made.key) == 200
    rotated = await keys.rotate(made.id, overlap_seconds=0)
    assert rotated.replaced_id == made.id
    assert (await status(made.key), await status(rotated.key)) == (401, 200)
    with pytest.raises(Conflict):
        await keys.rotate(made.id)
    await keys.revoke(rotated.id)
    assert await status(rotated.key) == 401
    for act in (keys.revoke, keys.rotate):
        with pytest.raises(NotFound):
            await act("key_none")


async def test_use_is_gathered_and_never_goes_back(own_ports: Ports) -> None:
    keys = OperatorKeys(own_ports)
    made = [await keys.create(mode="test") for _ in range(3)]
    async with own_ports.database.acquire() as connection:
        world: int = await connection.fetchval("SELECT world_id FROM api_keys WHERE id = $1", made[0].id)

        async def last_used() -> list[datetime | None]:
            return [await connection.fetchval(LAST_USED, world, key.id) for key in made]

        now = own_ports.clock.now()
        use = KeyUse(own_ports.database)
        await use.flush()
        use.record(world, made[0].id, now)
        use.record(world, made[0].id, now + timedelta(seconds=2))
        use.record(world, made[1].id, now)
        use.record(world, "key_gone", now)
        assert await last_used() == [None, None, None]
        await use.flush()
        assert await last_used() == [now + timedelta(seconds=2), now, None]
        # Another process writes what it saw earlier.
        late = KeyUse(own_ports.database)
        late.record(world, made[0].id, now)
        late.record(world, made[2].id, now)
        await late.flush()
        assert await last_used() == [now + timedelta(seconds=2), now, now]


async def test_use_is_written_regularly_and_at_the_end(own_ports: Ports) -> None:
    made = await OperatorKeys(own_ports).create(mode="test")
    now = own_ports.clock.now()
    async with own_ports.database.acquire() as connection:
        world: int = await connection.fetchval("SELECT world_id FROM api_keys WHERE id = $1", made.id)
        async with KeyUse(own_ports.database, flush_seconds=0.01) as use:
            use.record(world, made.id, now)
            assert await until_used(own_ports, world, made.id) == now
        async with KeyUse(own_ports.database, flush_seconds=3600) as use:
            use.record(world, made.id, now + timedelta(seconds=1))
        assert await connection.fetchval(LAST_USED, world, made.id) == now + timedelta(seconds=1)


async def test_use_waits_for_a_database_that_is_away(own_ports: Ports) -> None:
    made = await OperatorKeys(own_ports).create(mode="test")
    now = own_ports.clock.now()
    async with own_ports.database.acquire() as connection:
        world: int = await connection.fetchval("SELECT world_id FROM api_keys WHERE id = $1", made.id)
    database = Database(own_ports.database.dsn)
    use = KeyUse(database)
    use.record(world, made.id, now)
    with pytest.raises(Unavailable):  # it is not open yet
        await use.flush()
    async with use:  # trying to write it is no reason to fail
        pass
    await database.open()
    try:
        await use.flush()
        async with database.acquire() as connection:
            assert await connection.fetchval(LAST_USED, world, made.id) == now
    finally:
        await database.close()


async def test_a_used_key_shows_when(client: httpx.AsyncClient, tenant: Tenant, ports: Ports) -> None:
    shown = (await client.get("/v1/api-keys", headers=tenant.headers)).json()["data"]
    key_id = next(each["id"] for each in shown if tenant.test_key.endswith(each["hint"][-4:]))
    await until_used(ports, tenant.test_world, key_id)
