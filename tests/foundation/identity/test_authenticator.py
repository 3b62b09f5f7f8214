"""When a token has to be valid, and what happens when the connection of its look-up breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from lapel.foundation.core.actors import Actor
from lapel.foundation.core.clock import ManualClock
from lapel.foundation.database.pool import Database
from lapel.foundation.identity.authenticator import Authenticator
from lapel.foundation.identity.key_cache import Revocations
from lapel.foundation.identity.token_kinds import Found, TokenKind
from lapel.foundation.identity.tokens import new_token
from lapel.foundation.ports import Ports
from tests.support.locks import until_waiting
from tests.support.tenants import Tenant

if TYPE_CHECKING:
    from lapel.foundation.database.connection import Connection

START = datetime(2026, 1, 1, tzinfo=UTC)
WAITED = timedelta(seconds=5)


class Slow:
    """A database that has a connection only after a while."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[None]:
        self._clock.advance(WAITED)
        yield


@pytest.mark.parametrize(("cached", "moment"), [(False, START + WAITED), (True, START)])
async def test_a_token_is_looked_up_as_of_the_moment_that_its_kind_needs(
    ports: Ports, cached: bool, moment: datetime
) -> None:
    """The look-up of a cached kind counts from before the read, that of others from the read itself."""
    clock, moments = ManualClock(START), list[datetime]()

    async def find(_connection: Connection, _hashes: list[bytes], now: datetime) -> Found:
        moments.append(now)
        return Found(Actor(kind="upload", id="rec_a", world_id=1, project_id="prj_a", mode="test"))

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
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        assert ended == 1
        await until_waiting(ports, 1)
    assert (await waiting).status_code == 200
