"""A server is unready only if its requests fail. What else is missing is named, and the answer is 200."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database.own_connection import OwnConnection
from tests.support.client import api_client
from tests.support.database_proxy import database_proxy
from tests.support.postgres import limit_connections
from tests.support.running import running
from tests.support.tenants import Tenant, make_tenant

MIB = 1 << 20


@dataclass
class Asked:
    """A server, and a client of it."""

    client: httpx.AsyncClient
    tenant: Tenant

    async def state(self) -> tuple[int, str, str]:
        """Of /health/ready: the status code, and the states of all and of the database."""
        answer = await self.client.get("/health/ready")
        return answer.status_code, answer.json()["status"], answer.json()["database"]

    async def request(self) -> int:
        """The status code of a request."""
        return (await self.client.get("/v1/devices", headers=self.tenant.headers)).status_code


async def test_a_server_with_open_connections_serves_though_new_ones_are_refused(
    postgres: EmbeddedPostgres, fresh_database: str, tmp_path: Path
) -> None:
    async with running(tmp_path, fresh_database) as live, api_client(live.url) as client:
        it = Asked(client, await make_tenant(live.ports))
        limit_connections(postgres, fresh_database, 0)
        assert await it.request() == 200
        assert await it.state() == (200, "degraded", "no_new_connections")
        health = await client.get("/health")
        assert (health.status_code, health.json()["database"]) == (200, "connected")
        limit_connections(postgres, fresh_database, -1)
        assert await it.state() == (200, "degraded", "connected"), "a worker is still missing"


async def test_behind_a_proxy_that_takes_no_new_sessions_it_serves_until_the_open_ones_end(
    postgres: EmbeddedPostgres, fresh_database: str, tmp_path: Path
) -> None:
    name = fresh_database.partition("?")[0].rpartition("/")[2]
    async with database_proxy(postgres.sockets) as proxy:
        url = f"{proxy.dsn.rpartition('/')[0]}/{name}"
        async with running(tmp_path, url) as live, api_client(live.url) as client:
            it = Asked(client, await make_tenant(live.ports))
            proxy.target = tmp_path / "nowhere"
            assert await it.request() == 200
            assert await it.state() == (200, "degraded", "no_new_connections")
            await proxy.end_sessions()
            assert await it.request() == 503
            assert await it.state() == (503, "unready", "disconnected")
            assert (await client.get("/health")).status_code == 503
            proxy.target = postgres.sockets
            assert await it.state() == (200, "degraded", "connected")
            assert await it.request() == 200


@pytest.mark.parametrize(
    ("free", "disk"), [(300, "ok"), (150, "uploads_refused"), (50, "writes_refused")], ids=str
)
async def test_a_full_disk_is_named_and_does_not_take_the_server_away(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, disk: str
) -> None:
    """`free`: MiB of 1,000. Reads, heartbeats and deletions are served whatever is free."""
    room = os.statvfs_result((MIB, MIB, 1000, free, free, 0, 0, 0, 0, 255))
    async with (
        running(tmp_path, fresh_database, LAPEL_MIN_FREE_BYTES=str(200 * MIB)) as live,
        api_client(live.url) as client,
    ):
        monkeypatch.setattr(os, "statvfs", lambda _: room)
        answer = await client.get("/health/ready")
        it = Asked(client, await make_tenant(live.ports))
        assert await it.request() == 200
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded"), "a worker is missing too"
    assert answer.json()["disk"] == disk


async def test_the_own_connection_is_made_anew_after_a_while(fresh_database: str) -> None:
    now = 0.0
    own = OwnConnection(fresh_database, clock=lambda: now)

    async def ask() -> int:
        return await own.run(lambda each: each.fetchval("SELECT pg_backend_pid()"))

    try:
        first = await ask()
        now += 1
        assert await ask() == first
        now += 60
        assert await ask() != first
    finally:
        own.close()
