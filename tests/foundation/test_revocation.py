"""A revoked key is 401 in the next request, on every process, whatever happens to LISTEN."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from lapel.foundation.actors import Actor
from lapel.foundation.clock import ManualClock
from lapel.foundation.revocation import ALIVE, KeyCache, Revocations
from tests.support.client import api_client
from tests.support.running import Running, running
from tests.support.tenants import Tenant, bearer, make_tenant


@pytest.fixture
async def two(fresh_database: str, tmp_path: Path) -> AsyncGenerator[tuple[Running, Running]]:
    """Two API processes on one database, each with its own cache and its own LISTEN."""
    async with (
        running(tmp_path / "one", fresh_database) as one,
        running(tmp_path / "two", fresh_database) as two,
    ):
        await confirmed(one)
        await confirmed(two)
        yield one, two


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


async def confirmed(live: Running) -> None:
    """Wait until the process may cache."""
    await until(lambda: live.kit.revocations.cache.confirmed)


async def status(live: Running, key: str) -> int:
    """What a request with the key is answered."""
    async with api_client(live.url) as client:
        return (await client.get("/v1/devices", headers=bearer(key))).status_code


async def new_key(live: Running, tenant: Tenant) -> tuple[str, str]:
    """A key's secret and id."""
    async with api_client(live.url) as client:
        made = await client.post("/v1/api-keys", json={"kind": "secret"}, headers=tenant.headers)
    assert made.status_code == 201
    return made.json()["key"], made.json()["id"]


async def revoke(live: Running, tenant: Tenant, key_id: str) -> httpx.Response:
    """Revoke it through one of the processes."""
    async with api_client(live.url) as client:
        return await client.delete(f"/v1/api-keys/{key_id}", headers=tenant.headers)


def cached(live: Running, key: str) -> bool:
    """Whether the process would let the key in without asking the database."""
    return live.kit.revocations.cache.get(live.kit.hasher.hash(key)) is not None


async def cut_listeners(database: str) -> int:
    """End the connections that listen, as a restarting proxy or firewall would."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database)
    try:
        rows = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND (query LIKE 'LISTEN%' OR query LIKE '%key_caches%')"
        )
        return len(rows)
    finally:
        await connection.close()


async def test_revoked_through_one_process_it_is_401_on_the_other_at_once(
    two: tuple[Running, Running],
) -> None:
    one, other = two
    tenant = await make_tenant(one.kit)
    for _ in range(10):
        key, key_id = await new_key(one, tenant)
        assert [await status(one, key), await status(other, key)] == [200, 200]
        assert cached(one, key)
        assert cached(other, key)
        assert (await revoke(one, tenant, key_id)).status_code == 204
        assert [await status(other, key), await status(one, key)] == [401, 401]


async def test_with_the_listen_connections_cut_the_next_request_is_401(
    two: tuple[Running, Running], fresh_database: str
) -> None:
    one, other = two
    tenant = await make_tenant(one.kit)
    key, key_id = await new_key(one, tenant)
    assert [await status(one, key), await status(other, key)] == [200, 200]
    assert cached(other, key)
    assert await cut_listeners(fresh_database) >= 2
    assert (await revoke(one, tenant, key_id)).status_code == 204
    assert [await status(other, key), await status(one, key)] == [401, 401]


async def test_a_process_that_cannot_hear_does_not_cache(
    two: tuple[Running, Running], fresh_database: str
) -> None:
    one, other = two
    tenant = await make_tenant(one.kit)
    key, _ = await new_key(one, tenant)
    assert await status(other, key) == 200
    generation = other.kit.revocations.generation
    await cut_listeners(fresh_database)
    await until(lambda: other.kit.revocations.generation > generation)
    assert not cached(other, key)
    await confirmed(other)
    assert not cached(other, key)
    assert await status(other, key) == 200
    assert cached(other, key)


async def test_a_process_that_is_gone_does_not_hold_a_revocation_up_for_ever(
    two: tuple[Running, Running],
) -> None:
    one, _ = two
    tenant = await make_tenant(one.kit)
    key, key_id = await new_key(one, tenant)
    assert await status(one, key) == 200
    async with one.kit.database.acquire() as connection:  # as one that was killed leaves it
        await connection.execute("INSERT INTO key_caches (process_id, seen_at) VALUES ('gone', now())")
    assert (await revoke(one, tenant, key_id)).status_code == 204
    assert await status(one, key) == 401


@pytest.mark.parametrize("skew", [timedelta(minutes=4), timedelta(minutes=-4)])
async def test_a_process_whose_clock_is_wrong_waits_for_the_others_and_they_for_it(
    fresh_database: str, tmp_path: Path, skew: timedelta
) -> None:
    wrong = ManualClock(datetime.now(UTC) + skew)
    async with (
        running(tmp_path / "one", fresh_database, clock=None) as one,
        running(tmp_path / "two", fresh_database, clock=wrong) as two,
    ):
        await confirmed(one)
        await confirmed(two)
        for each in (one, two):
            async with each.kit.database.acquire() as connection:
                awaited = await connection.fetch(ALIVE, timedelta(minutes=1))
            assert len(awaited) == 2
        tenant = await make_tenant(one.kit)
        key, key_id = await new_key(one, tenant)
        assert [await status(one, key), await status(two, key)] == [200, 200]
        assert (await revoke(two, tenant, key_id)).status_code == 204
        assert [await status(one, key), await status(two, key)] == [401, 401]


async def test_what_was_read_before_listening_is_not_kept(live: Running) -> None:
    revocations = Revocations(live.kit.database)
    reading = revocations.generation
    await revocations.start()
    try:
        await until(lambda: revocations.cache.confirmed)
        assert revocations.generation != reading
    finally:
        await revocations.stop()
    assert not revocations.cache.confirmed


ACTOR = Actor(kind="key", id="key_1", world_id=1, project_id="proj_1", mode="test")


def test_an_entry_lives_as_long_as_its_key_and_no_longer_than_the_cache_lets_it() -> None:
    cache = KeyCache()
    cache.confirmed = True
    now = time.monotonic()
    cache.put(b"fresh", ACTOR, now)
    cache.put(b"read long ago", ACTOR, now - 60)
    cache.put(b"key expired", ACTOR, now, lives=-1.0)
    assert cache.get(b"fresh") is ACTOR
    assert cache.get(b"read long ago") is None
    assert cache.get(b"key expired") is None
    assert cache.get(b"unknown") is None
    cache.confirmed = False
    assert cache.get(b"fresh") is None


def test_a_dropped_entry_is_gone_and_the_cache_is_bounded() -> None:
    cache = KeyCache()
    cache.confirmed = True
    now = time.monotonic()
    for number in range(25_000):
        cache.put(number.to_bytes(4, "big"), ACTOR, now)
    assert len(cache._entries) <= 10_000
    last = (24_999).to_bytes(4, "big")
    assert cache.get(last) is ACTOR
    cache.drop(last)
    cache.drop(last)
    assert cache.get(last) is None
