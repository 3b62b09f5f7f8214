"""A device's revision rises with every change that it may read, in the order in which changes are seen."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import asyncpg
import httpx
import pytest

from lapel.foundation.ports import Ports
from lapel.slices.configuration import queries
from lapel.slices.configuration.operator.service import OperatorConfiguration
from lapel.slices.configuration.service import REVISION, Configuration
from tests.configuration.conftest import Fleet, make_fleet
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant

ORGANIZATION = "SELECT organization_id FROM projects WHERE id = $1"
# What a device sees of it, and what it may read, in one snapshot.
SEEN = f"""
SELECT {REVISION} AS revision, d.end_user_id,
    (SELECT jsonb_agg(jsonb_build_array(o.level, o.section, o.value) ORDER BY o.level, o.section)
     FROM ({{overrides}}) o)::text AS overrides
FROM devices d JOIN worlds w ON w.id = d.world_id WHERE d.world_id = $1 AND d.id = $2
""".format(
    overrides=queries.RESOLVE.replace("$3::text", "d.id").replace("$2::text", "d.end_user_id"),
)


async def organization_of(fleet: Fleet) -> str:
    async with fleet.ports.database.acquire() as connection:
        return await connection.fetchval(ORGANIZATION, fleet.tenant.project_id)


async def test_every_write_raises_it_once(fleet: Fleet) -> None:
    seen = [await fleet.revision()]

    async def risen() -> bool:
        seen.append(await fleet.revision())
        return seen[-1] > seen[-2]

    for level, path in fleet.paths().items():
        await fleet.set(level, "upload", {"allow_roaming": True})
        assert await risen(), level
        await fleet.set(level, "upload", {"allow_roaming": True})  # as it was: nothing to fetch
        assert not await risen(), level
        await fleet.ask("DELETE", f"{path}/upload", status=204)
        assert await risen(), level
        await fleet.ask("DELETE", f"{path}/upload", status=204)
        assert not await risen(), level
    put = f"/v1/projects/{fleet.tenant.project_id}/config/upload"
    await fleet.ask("PUT", put, {"allow_roaming": True})
    assert await risen()
    operator = OperatorConfiguration(fleet.ports, mode="test", organization_id=await organization_of(fleet))
    await operator.patch("upload", {"allow_roaming": True})
    assert await risen()
    await operator.clear("upload")
    assert await risen()


async def test_binding_and_unbinding_raise_it(fleet: Fleet) -> None:
    bound = await fleet.revision()
    await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
    unbound = await fleet.revision()
    await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
    assert await fleet.revision() == unbound > bound
    await fleet.ask("POST", f"/v1/devices/{fleet.device}/bind", {"end_user_id": fleet.end_user})
    again = await fleet.revision()
    assert again > unbound
    await fleet.ask("DELETE", f"/v1/end-users/{fleet.end_user}", status=204)
    assert await fleet.revision() > again


async def test_it_rises_for_those_alone_whom_it_concerns(fleet: Fleet) -> None:
    made = {"serial_number": "CONF0002", "model": "bota_pin"}
    other = (await fleet.ask("POST", "/v1/devices", made, status=201))["id"]
    live_made = await fleet.ask("POST", "/v1/devices", made, status=201, token=fleet.tenant.live_key)

    async def both() -> tuple[int, int, int]:
        live = await fleet.revision(live_made["id"], token=fleet.tenant.live_key)
        return await fleet.revision(), await fleet.revision(other), live

    before = await both()
    await fleet.set("device", "upload", {"allow_roaming": True})
    await fleet.set("end_user", "upload", {"allow_roaming": True})
    after = await both()
    assert (after[0] > before[0], after[1:]) == (True, before[1:])
    operator = OperatorConfiguration(fleet.ports, mode="test", organization_id=await organization_of(fleet))
    for write in (fleet.set("project", "upload", {"allow_roaming": True}), operator.clear("upload")):
        await write
    last = await both()
    assert (last[0] > after[0], last[1] > after[1], last[2]) == (True, True, after[2])


async def test_refused_writes_raise_nothing(fleet: Fleet) -> None:
    before = await fleet.revision()
    for path in fleet.paths().values():
        await fleet.ask("PATCH", f"{path}/upload", {"streaming_chunk_kb": 1}, status=400)
        await fleet.ask("PATCH", f"{path}/upload", {}, status=200)
    assert await fleet.revision() == before


@pytest.mark.parametrize("first", ["project", "end_user"])
@pytest.mark.parametrize("second", ["project", "end_user", "device", "bind"])
async def test_who_comes_second_waits_and_gets_the_later_revision(
    fleet: Fleet, first: str, second: str
) -> None:
    """The first has its revision and does not commit yet. Were the second one to overtake it, the device
    would see the second's revision, fetch what counts without the first's, and never hear of that."""
    if second == "bind":
        await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
    world = fleet.tenant.test_world
    subject = fleet.end_user if first == "end_user" else ""
    async with fleet.ports.database.transaction() as connection:
        assert await queries.lock_subject(connection, world, first, subject)  # pyright: ignore[reportArgumentType]
        early = await queries.raise_revision(connection, world, first, [subject])  # pyright: ignore[reportArgumentType]
        if second == "bind":
            bind = fleet.ask("POST", f"/v1/devices/{fleet.device}/bind", {"end_user_id": fleet.end_user})
            writing = asyncio.create_task(bind)
        else:
            writing = asyncio.create_task(fleet.set(second, "upload", {"allow_roaming": True}))
        await until_waiting(fleet.ports, 1)
    await writing
    assert await fleet.revision() > early


async def test_what_concerns_one_device_does_not_wait_for_other_devices(fleet: Fleet) -> None:
    made = {"serial_number": "CONF0002", "model": "bota_pin"}
    other = (await fleet.ask("POST", "/v1/devices", made, status=201))["id"]
    world = fleet.tenant.test_world
    async with fleet.ports.database.transaction() as connection:
        assert await queries.lock_subject(connection, world, "device", other)
        await queries.raise_revision(connection, world, "device", [other])
        await fleet.set("device", "upload", {"allow_roaming": True})
        await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")


async def watch(url: str, fleet: Fleet, done: asyncio.Event) -> list[asyncpg.Record]:
    """What the device saw, again and again until it is over."""
    seen: list[asyncpg.Record] = []
    connection = await asyncpg.connect(url)
    try:
        while not done.is_set():
            row = await connection.fetchrow(SEEN, fleet.tenant.test_world, fleet.device)
            assert row is not None
            if not seen or seen[-1] != row:
                seen.append(row)
    finally:
        await connection.close()
    return seen


async def test_in_a_race_of_all_writers_a_revision_means_one_configuration(
    fleet: Fleet, live: Any, client: httpx.AsyncClient, ports: Ports, stranger: Tenant
) -> None:
    """Never two contents under one revision, and never a smaller revision after a greater one: a device that
    fetches whenever the revision changes always ends with what counts."""
    dice = random.Random(5)
    done = asyncio.Event()
    operator = OperatorConfiguration(ports, mode="test", organization_id=await organization_of(fleet))
    elsewhere = await make_fleet(client, ports, stranger)

    async def write(level: str, count: int) -> None:
        for _ in range(count):
            value = dice.randint(64, 1024)
            await fleet.set(level, "upload", {"streaming_chunk_kb": value})
            await elsewhere.set(level, "upload", {"streaming_chunk_kb": value})
            if dice.random() < 0.3:
                await fleet.ask("DELETE", f"{fleet.paths()[level]}/upload", status=204)

    async def operate(count: int) -> None:
        for _ in range(count):
            await operator.patch("upload", {"streaming_chunk_kb": dice.randint(64, 1024)})

    async def rebind(count: int) -> None:
        for _ in range(count):
            await fleet.ask("POST", f"/v1/devices/{fleet.device}/unbind")
            await fleet.ask("POST", f"/v1/devices/{fleet.device}/bind", {"end_user_id": fleet.end_user})

    watching = [asyncio.create_task(watch(live.settings.database_url, fleet, done)) for _ in range(2)]
    await asyncio.gather(*(write(level, 25) for level in fleet.paths()), operate(25), rebind(15))
    done.set()
    for seen in await asyncio.gather(*watching):
        assert len(seen) > 10
        revisions = [row["revision"] for row in seen]
        assert revisions == sorted(revisions)
        contents: dict[int, set[tuple[str | None, str | None]]] = {}
        for row in seen:
            contents.setdefault(row["revision"], set()).add((row["end_user_id"], row["overrides"]))
        assert all(len(each) == 1 for each in contents.values())


async def test_hooks_take_no_lock_for_nothing(fleet: Fleet) -> None:
    async with fleet.ports.database.transaction() as connection:
        now = fleet.ports.clock.now()
        await Configuration(fleet.ports).raise_devices(connection, fleet.tenant.test_world, [], now)
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert await connection.fetchval(held) == 0
