"""A revoked key is 401 in the next request, on every process, whatever happens to LISTEN."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.identity import seal
from lapel.foundation.identity.key_cache import ALIVE, KeyCache, Revocations
from lapel.slices.projects.operator import OperatorKeys
from tests.support.client import api_client
from tests.support.postgres import END_OTHERS
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
    await until(lambda: live.ports.revocations.cache.confirmed)


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
    return live.ports.revocations.cache.get(f"Bearer {key}".encode()) is not None


async def cut_listeners(database: str) -> int:
    """End the connections that listen, as a restarting proxy or firewall would."""
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database)
    try:
        return await connection.fetchval(
            f"{END_OTHERS} AND (query LIKE 'LISTEN%' OR query LIKE '%key_caches%')"
        )
    finally:
        await connection.close()


async def test_revoked_through_one_process_it_is_401_on_the_other_at_once(
    two: tuple[Running, Running],
) -> None:
    one, other = two
    tenant = await make_tenant(one.ports)
    for _ in range(10):
        key, key_id = await new_key(one, tenant)
        assert [await status(one, key), await status(other, key)] == [200, 200]
        assert cached(one, key)
        assert cached(other, key)
        assert (await revoke(one, tenant, key_id)).status_code == 204
        assert [await status(other, key), await status(one, key)] == [401, 401]


SECRET_BEFORE = "the-secret-before-that-is-long-enough"


class Change:
    """Two processes in the middle of a change of the secret, and keys of before it."""

    def __init__(self, one: Running, other: Running, tenant: Tenant) -> None:
        self.one = one
        self.other = other
        self.tenant = tenant
        self._before = OperatorKeys(replace(one.ports, hasher=seal.token_hasher(SECRET_BEFORE, None)))

    async def key(self, end_user_id: str | None = None) -> tuple[str, str]:
        """The id and secret of a key of before, which both processes have in their caches."""
        made = await self._before.create(
            mode="test", project_id=self.tenant.project_id, scopes=["devices:read"], end_user_id=end_user_id
        )
        assert [await status(self.one, made.key), await status(self.other, made.key)] == [200, 200]
        assert cached(self.one, made.key)
        assert cached(self.other, made.key)
        return made.id, made.key

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the first process answers to the project's own key."""
        async with api_client(self.one.url) as client:
            answer = await client.request(method, path, json=body or {}, headers=self.tenant.headers)
        assert answer.is_success
        return answer.json() if answer.content else {}


@pytest.fixture
async def change(fresh_database: str, tmp_path: Path) -> AsyncGenerator[Change]:
    more = {"LAPEL_SECRET_PREVIOUS": SECRET_BEFORE}
    async with (
        running(tmp_path / "one", fresh_database, clock=None, **more) as one,
        running(tmp_path / "two", fresh_database, clock=None, **more) as other,
    ):
        await confirmed(one)
        await confirmed(other)
        yield Change(one, other, await make_tenant(one.ports))


async def delete_the_key(change: Change) -> str:
    key_id, key = await change.key()
    await change.call("DELETE", f"/v1/api-keys/{key_id}")
    return key


async def rotate_it_without_overlap(change: Change) -> str:
    key_id, key = await change.key()
    await change.call("POST", f"/v1/api-keys/{key_id}/rotate", {"overlap_seconds": 0})
    return key


async def delete_its_end_user(change: Change) -> str:
    end_user_id = (await change.call("POST", "/v1/end-users"))["id"]
    _, key = await change.key(end_user_id)
    await change.call("DELETE", f"/v1/end-users/{end_user_id}")
    return key


async def revoke_it_as_the_operator(change: Change) -> str:
    key_id, key = await change.key()
    await OperatorKeys(change.other.ports).revoke(key_id)
    return key


async def rotate_it_as_the_operator(change: Change) -> str:
    key_id, key = await change.key()
    await OperatorKeys(change.other.ports).rotate(key_id, 0)
    return key


async def let_its_overlap_end(change: Change) -> str:
    key_id, key = await change.key()
    rotated = await change.call("POST", f"/v1/api-keys/{key_id}/rotate", {"overlap_seconds": 1})
    await status(change.one, key)  # read again, to be kept until its end at most
    ends = datetime.fromisoformat(rotated["replaced_works_until"]) + timedelta(milliseconds=1)
    await until(lambda: datetime.now(UTC) >= ends)
    return key


async def test_however_it_ends_a_key_of_before_a_change_of_the_secret_is_401_at_once(change: Change) -> None:
    ways = (
        delete_the_key,
        rotate_it_without_overlap,
        delete_its_end_user,
        revoke_it_as_the_operator,
        rotate_it_as_the_operator,
        let_its_overlap_end,
    )
    for end in ways:
        key = await end(change)
        found = (end.__name__, [await status(change.one, key), await status(change.other, key)])
        assert found == (end.__name__, [401, 401])


@pytest.mark.deep
async def test_with_the_listen_connections_cut_the_next_request_is_401(
    two: tuple[Running, Running], fresh_database: str
) -> None:
    one, other = two
    tenant = await make_tenant(one.ports)
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
    tenant = await make_tenant(one.ports)
    key, _ = await new_key(one, tenant)
    assert await status(other, key) == 200
    generation = other.ports.revocations.generation
    await cut_listeners(fresh_database)
    await until(lambda: other.ports.revocations.generation > generation)
    assert not cached(other, key)
    await confirmed(other)
    assert not cached(other, key)
    assert await status(other, key) == 200
    assert cached(other, key)


@pytest.mark.deep
async def test_a_process_that_is_gone_does_not_hold_a_revocation_up_for_ever(
    two: tuple[Running, Running],
) -> None:
    one, _ = two
    tenant = await make_tenant(one.ports)
    key, key_id = await new_key(one, tenant)
    assert await status(one, key) == 200
    async with one.ports.database.acquire() as connection:  # as one that was killed leaves it
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
            async with each.ports.database.acquire() as connection:
                awaited = await connection.fetch(ALIVE, timedelta(minutes=1))
            assert len(awaited) == 2
        tenant = await make_tenant(one.ports)
        key, key_id = await new_key(one, tenant)
        assert [await status(one, key), await status(two, key)] == [200, 200]
        assert (await revoke(two, tenant, key_id)).status_code == 204
        assert [await status(one, key), await status(two, key)] == [401, 401]


async def test_what_was_read_before_listening_is_not_kept(live: Running) -> None:
    revocations = Revocations(live.ports.database)
    reading = revocations.generation
    await revocations.start()
    try:
        await until(lambda: revocations.cache.confirmed)
        assert revocations.generation != reading
    finally:
        await revocations.stop()
    assert not revocations.cache.confirmed


def actor_of(key_id: str) -> Actor:
    """The holder of a key."""
    return Actor(kind="key", id=key_id, world_id=1, project_id="proj_1", mode="test")


def test_an_entry_lives_as_long_as_its_key_and_no_longer_than_the_cache_lets_it() -> None:
    cache = KeyCache()
    cache.confirmed = True
    now = time.monotonic()
    actor = actor_of("key_1")
    cache.put(b"fresh", actor, now)
    cache.put(b"read long ago", actor_of("key_2"), now - 60)
    cache.put(b"key expired", actor_of("key_3"), now, lives=-1.0)
    assert cache.get(b"fresh") is actor
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
        cache.put(number.to_bytes(4, "big"), actor_of(f"key_{number}"), now)
    assert len(cache._entries) <= 10_000
    assert len(cache._hashes) <= 10_000
    last, before = (24_999).to_bytes(4, "big"), (24_998).to_bytes(4, "big")
    assert cache.get(last) == actor_of("key_24999")
    cache.drop("key_24999")
    cache.drop("key_24999")
    assert cache.get(last) is None
    assert cache.get(before) == actor_of("key_24998")
