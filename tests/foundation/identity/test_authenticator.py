"""When a token has to be valid, look-ups of several tokens, and what happens when a connection breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.core.errors import Unauthorized
from lapel.foundation.database.pool import Database
from lapel.foundation.identity.authenticator import Authenticator
from lapel.foundation.identity.key_cache import Revocations
from lapel.foundation.identity.token_kinds import Found, TokenKind
from lapel.foundation.identity.tokens import TokenHasher, new_token
from lapel.foundation.ports import Ports
from lapel.slices.projects.key_queries import API_KEY
from tests.support import declared
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant, bearer, make_key, make_worlds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.database.connection import Connection
    from lapel.foundation.identity.token_kinds import LookUp

START = datetime(2026, 1, 1, tzinfo=UTC)
WAITED = timedelta(seconds=5)


class Slow:
    """A database that has a connection only after a while."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    @asynccontextmanager
    async def acquire_for_all(self) -> AsyncGenerator[None]:
        self._clock.advance(WAITED)
        yield


@pytest.mark.parametrize(("cached", "moment"), [(False, START + WAITED), (True, START)])
async def test_a_token_is_looked_up_as_of_the_moment_that_its_kind_needs(
    ports: Ports, cached: bool, moment: datetime
) -> None:
    """The look-up of a cached kind counts from before the read, that of others from the read itself."""
    clock, moments = ManualClock(START), list[datetime]()

    async def find(_connection: Connection, asked: Sequence[LookUp]) -> list[Found]:
        moments.extend(each.moment for each in asked)
        return [Found(Actor(kind="upload", id="rec_a", world_id=1, project_id="prj_a", mode="test"))]

    kind = TokenKind(
        name="upload",
        prefixes=("utok",),
        find=find,
        unknown="",
        holder="",
        scheme="",
        description="",
        cached=cached,
    )
    database = cast("Database", Slow(clock))
    authenticate = Authenticator(
        database,
        clock,
        ports.hasher,
        Revocations(ports.database),
        lambda _world, _id, _now: None,
        kinds=[kind],
        scopes=(),
    )
    await authenticate(f"Bearer {new_token('utok')}".encode())
    assert moments == [moment]


async def test_a_connection_that_breaks_in_a_look_up_is_not_told_to_the_client(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    async with ports.database.transaction() as connection:
        await connection.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(client.get("/v1/devices", headers=tenant.headers))
        await until_waiting(ports, 1)
        ended = await connection.fetchval(
            # All are found before one is ended: the repetition may wait in another connection at once.
            "WITH waiting AS MATERIALIZED (SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            " ORDER BY pid) SELECT count(pg_terminate_backend(pid)) FROM waiting"
        )
        assert ended == 1
        await until_waiting(ports, 1)
    assert (await waiting).status_code == 200


async def holder(authenticate: Authenticator, token: str) -> str | None:
    """The id of the actor; None when the token is refused."""
    try:
        return (await authenticate(f"Bearer {token}".encode())).id
    except Unauthorized:
        return None


async def test_requests_at_the_same_time_share_a_look_up_and_get_their_own_holders(ports: Ports) -> None:
    """Under a new secret, too: then each token has two possible hashes."""
    asked = list[int]()
    _, live, _ = await make_worlds(ports)
    keys = [await make_key(ports, live, "sk_live") for _ in range(4)]
    now = ports.clock.now()
    keys += [
        await make_key(ports, live, "rk_live", expires_at=now + timedelta(hours=hours)) for hours in (-1, 1)
    ]
    ids = [await holder(declared.authenticator(ports), key) for key in keys]
    assert [each is None for each in ids] == [False] * 4 + [True, False]
    assert len(set(ids)) == 6

    async def find(connection: Connection, look_ups: Sequence[LookUp]) -> Sequence[Found | None]:
        asked.append(len(look_ups))
        return await API_KEY.find(connection, look_ups)

    authenticate = Authenticator(
        ports.database,
        ports.clock,
        TokenHasher(b"new", (ports.hasher.pepper,)),
        Revocations(ports.database),
        lambda *_: None,
        kinds=[replace(API_KEY, find=find)],
        scopes=(),
    )
    unknown = new_token("sk_live")
    tokens = [*keys, unknown] * 6
    found = await asyncio.gather(*(holder(authenticate, token) for token in tokens))
    assert found == [*ids, None] * 6
    assert asked == [42]


async def test_of_a_shared_look_up_during_a_revocation_no_key_is_cached(ports: Ports) -> None:
    _, live, _ = await make_worlds(ports)
    keys = [await make_key(ports, live, "sk_live") for _ in range(4)]
    revocations, revoked = Revocations(ports.database), False
    revocations.cache.confirmed = True  # as while it listens

    async def find(connection: Connection, look_ups: Sequence[LookUp]) -> Sequence[Found | None]:
        found = await API_KEY.find(connection, look_ups)
        if revoked:
            revocations.generation += 1
        return found

    authenticate = Authenticator(
        ports.database,
        ports.clock,
        ports.hasher,
        revocations,
        lambda *_: None,
        kinds=[replace(API_KEY, find=find)],
        scopes=(),
    )
    for revoked in (True, False):
        assert None not in await asyncio.gather(*(holder(authenticate, key) for key in keys))
        cached = [revocations.cache.get(f"Bearer {key}".encode()) for key in keys]
        assert [each is None for each in cached] == [revoked] * 4


async def test_the_first_use_of_a_device_token_keeps_no_other_caller_waiting(
    client: httpx.AsyncClient, tenant: Tenant, ports: Ports
) -> None:
    """It waits for the row of its device."""
    devices = list[dict[str, str]]()
    for number in range(3):
        made = await client.post(
            "/v1/devices", json={"serial_number": f"FIRST{number}"}, headers=tenant.headers
        )
        person = await client.post("/v1/end-users", headers=tenant.headers)
        bind = f"/v1/devices/{made.json()['id']}/bind"
        bound = await client.post(bind, json={"end_user_id": person.json()["id"]}, headers=tenant.headers)
        devices.append(bound.json())
    *locked, free = (each["device_token"] for each in devices)
    fresh = [
        (await client.post("/v1/devices/me/token/refresh", headers=bearer(token))).json()["device_token"]
        for token in locked
    ]
    authenticate = declared.authenticator(ports)
    async with ports.database.transaction() as connection:
        await connection.execute(
            "SELECT 1 FROM devices WHERE world_id = $1 AND id = ANY($2) FOR NO KEY UPDATE",
            tenant.test_world,
            [each["id"] for each in devices[:2]],
        )
        waiting = [asyncio.create_task(holder(authenticate, token)) for token in fresh]
        await until_waiting(ports, 2)
        found = await asyncio.gather(*(holder(authenticate, free) for _ in range(4)))
        assert found == [devices[2]["id"]] * 4
        assert not any(each.done() for each in waiting)
    assert await asyncio.gather(*waiting) == [each["id"] for each in devices[:2]]
    assert [await holder(authenticate, token) for token in locked] == [None, None], "they were replaced"
