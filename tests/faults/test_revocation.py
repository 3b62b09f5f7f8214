"""A revoked key is 401 on every process at once, also when a process cannot hear of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from lapel.foundation.http_server import listen
from tests.faults.processes import process
from tests.support.client import api_client
from tests.support.running import running, settings_for
from tests.support.tenants import bearer, make_tenant

# The connections with LISTEN are the only ones of ours outside the pools.
LISTENERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'lapel'
  AND pid <> pg_backend_pid()
"""
CACHING = "SELECT count(*) FROM key_caches"


class Pair:
    """Two API processes on one database, and an administrator's key that both know."""

    def __init__(self, clients: list[httpx.AsyncClient], admin: str, database: asyncpg.Connection) -> None:
        self.clients = clients
        self.database = database
        self._admin = admin

    async def key(self) -> tuple[str, str]:
        """Id and token of a new key that both processes have in their caches."""
        body = {"scopes": ["recordings:read"]}
        made = await self.clients[0].post("/v1/api-keys", json=body, headers=bearer(self._admin))
        for client in self.clients * 2:
            assert await self.status(client, made.json()["key"]) == 200
        return made.json()["id"], made.json()["key"]

    async def status(self, client: httpx.AsyncClient, token: str) -> int:
        """What a read with this token is answered."""
        return (await client.get("/v1/recordings", headers=bearer(token))).status_code

    async def revoke(self, key_id: str) -> None:
        """On the first process."""
        gone = await self.clients[0].delete(f"/v1/api-keys/{key_id}", headers=bearer(self._admin))
        assert gone.status_code == 204

    async def listeners(self) -> list[int]:
        """The backends of the LISTEN connections; waits until every process has one again."""
        async with asyncio.timeout(30):
            while True:
                found = [row["pid"] for row in await self.database.fetch(LISTENERS)]
                if len(found) == len(self.clients) <= await self.database.fetchval(CACHING):
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def pair(folder: Path, dsn: str) -> AsyncGenerator[Pair]:
    async with AsyncExitStack() as stack:
        async with running(folder, dsn, clock=None) as live:
            tenant = await make_tenant(live.kit)
        clients: list[httpx.AsyncClient] = []
        for _ in range(2):
            listener = stack.enter_context(listen("127.0.0.1", 0)[0])
            port = listener.getsockname()[1]
            await stack.enter_async_context(
                process("api", settings_for(folder, dsn, port), listener=listener)
            )
            clients.append(await stack.enter_async_context(api_client(f"http://127.0.0.1:{port}")))
        database = await asyncpg.connect(dsn)
        stack.push_async_callback(database.close)
        yield Pair(clients, tenant.test_key, database)


@pytest.fixture
async def both(fresh_database: str, tmp_path: Path) -> AsyncGenerator[Pair]:
    async with pair(tmp_path, fresh_database) as made:
        yield made


async def test_the_next_request_anywhere_is_401(both: Pair) -> None:
    await both.listeners()
    for _ in range(3):
        key_id, token = await both.key()
        await both.revoke(key_id)
        assert [await both.status(client, token) for client in both.clients] == [401, 401]


async def test_also_when_a_listen_connection_is_cut(both: Pair) -> None:
    await both.listeners()
    for victim in (0, 1):
        key_id, token = await both.key()
        backend = (await both.listeners())[victim]
        assert await both.database.fetchval("SELECT pg_terminate_backend($1)", backend)
        await both.revoke(key_id)
        assert [await both.status(client, token) for client in both.clients] == [401, 401]


async def test_also_when_every_listen_connection_is_cut_again_and_again(both: Pair) -> None:
    key_id, token = await both.key()
    stop = asyncio.Event()

    async def cut() -> None:
        while not stop.is_set():
            for row in await both.database.fetch(LISTENERS):
                await both.database.fetchval("SELECT pg_terminate_backend($1)", row["pid"])
            await asyncio.sleep(0.02)

    cutting = asyncio.create_task(cut())
    try:
        await both.revoke(key_id)
        assert [await both.status(client, token) for client in both.clients] == [401, 401]
    finally:
        stop.set()
        await cutting


@pytest.mark.parametrize("victim", [0, 1])
async def test_also_when_a_listen_connection_is_frozen(both: Pair, victim: int) -> None:
    """Nobody notices that it hears nothing: the entries die of age before the revoking answer."""
    await both.listeners()
    key_id, token = await both.key()
    backend = (await both.listeners())[victim]
    os.kill(backend, signal.SIGSTOP)
    try:
        await both.revoke(key_id)
        assert [await both.status(client, token) for client in both.clients] == [401, 401]
    finally:
        os.kill(backend, signal.SIGCONT)
