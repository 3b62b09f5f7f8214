"""A revoked key is 401 on every process at once, also when a process cannot hear of it.

Every case has a key of the present secret and one of the secret before, as while LAPEL_SECRET changes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest

from lapel.foundation.ports import open_ports
from lapel.hosting.sockets import listen
from lapel.slices.projects.operator import OperatorKeys
from tests.faults.processes import process
from tests.support.client import api_client
from tests.support.patience import patience
from tests.support.running import running, settings_for
from tests.support.tenants import bearer, make_tenant

# The connections with LISTEN are the only ones of ours outside the pools.
LISTENERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> 'lapel'
  AND pid <> pg_backend_pid()
"""
CACHING = "SELECT count(*) FROM key_caches"


SECRET_BEFORE = "the-secret-before-that-is-long-enough"
# Two keys on two processes.
ALL_401 = [401] * 4


class Pair:
    """Two API processes on one database, an administrator's key that both know, and the secret before."""

    def __init__(
        self, clients: list[httpx.AsyncClient], admin: str, database: asyncpg.Connection, before: OperatorKeys
    ) -> None:
        self.clients = clients
        self.database = database
        self._admin = admin
        self._before = before

    async def keys(self) -> dict[str, str]:
        """Tokens by id, in both processes' caches: one of the present secret, one of that before."""
        body = {"scopes": ["recordings:read"]}
        now = (await self.clients[0].post("/v1/api-keys", json=body, headers=bearer(self._admin))).json()
        old = await self._before.create(mode="test", scopes=body["scopes"])
        tokens = {now["id"]: str(now["key"]), old.id: old.key}
        for client in self.clients * 2:
            for token in tokens.values():
                assert await self.status(client, token) == 200
        return tokens

    async def statuses(self, tokens: dict[str, str]) -> list[int]:
        """What reads with these tokens are answered by each process."""
        return [await self.status(client, token) for token in tokens.values() for client in self.clients]

    async def status(self, client: httpx.AsyncClient, token: str) -> int:
        """What a read with this token is answered."""
        return (await client.get("/v1/recordings", headers=bearer(token))).status_code

    async def revoke(self, key_ids: Iterable[str]) -> None:
        """All at once, on the first process."""

        async def one(key_id: str) -> None:
            gone = await self.clients[0].delete(f"/v1/api-keys/{key_id}", headers=bearer(self._admin))
            assert gone.status_code == 204

        await asyncio.gather(*map(one, key_ids))

    async def listeners(self) -> list[int]:
        """The backends of the LISTEN connections; waits until every process has one again."""
        async with patience(30):
            while True:
                found = [row["pid"] for row in await self.database.fetch(LISTENERS)]
                if len(found) == len(self.clients) <= await self.database.fetchval(CACHING):
                    return found
                await asyncio.sleep(0.05)


@asynccontextmanager
async def pair(folder: Path, dsn: str) -> AsyncGenerator[Pair]:
    async with AsyncExitStack() as stack:
        async with running(folder, dsn, clock=None) as live:
            tenant = await make_tenant(live.ports)
        # As a process that still runs with the secret of before the change.
        before = replace(live.settings, secret=SECRET_BEFORE)
        operator = OperatorKeys(await stack.enter_async_context(open_ports(before)))
        clients: list[httpx.AsyncClient] = []
        for _ in range(2):
            listener = stack.enter_context(listen("127.0.0.1", 0)[0])
            port = listener.getsockname()[1]
            settings = settings_for(folder, dsn, port, LAPEL_SECRET_PREVIOUS=SECRET_BEFORE)
            await stack.enter_async_context(process("api", settings, listener=listener))
            clients.append(await stack.enter_async_context(api_client(f"http://127.0.0.1:{port}")))
        database = await asyncpg.connect(dsn)
        stack.push_async_callback(database.close)
        yield Pair(clients, tenant.test_key, database, operator)


@pytest.fixture
async def both(fresh_database: str, tmp_path: Path) -> AsyncGenerator[Pair]:
    async with pair(tmp_path, fresh_database) as made:
        yield made


async def test_the_next_request_anywhere_is_401(both: Pair) -> None:
    await both.listeners()
    for _ in range(3):
        tokens = await both.keys()
        await both.revoke(tokens)
        assert await both.statuses(tokens) == ALL_401


@pytest.mark.deep
async def test_also_when_a_listen_connection_is_cut(both: Pair) -> None:
    await both.listeners()
    for victim in (0, 1):
        tokens = await both.keys()
        backend = (await both.listeners())[victim]
        assert await both.database.fetchval("SELECT pg_terminate_backend($1)", backend)
        await both.revoke(tokens)
        assert await both.statuses(tokens) == ALL_401


@pytest.mark.deep
async def test_also_when_every_listen_connection_is_cut_again_and_again(both: Pair) -> None:
    tokens = await both.keys()
    stop = asyncio.Event()

    async def cut() -> None:
        while not stop.is_set():
            for row in await both.database.fetch(LISTENERS):
                await both.database.fetchval("SELECT pg_terminate_backend($1)", row["pid"])
            await asyncio.sleep(0.02)

    cutting = asyncio.create_task(cut())
    try:
        await both.revoke(tokens)
        assert await both.statuses(tokens) == ALL_401
    finally:
        stop.set()
        await cutting


@pytest.mark.deep
@pytest.mark.parametrize("victim", [0, 1])
async def test_also_when_a_listen_connection_is_frozen(both: Pair, victim: int) -> None:
    """Nobody notices that it hears nothing: the entries die of age before the revoking answer."""
    await both.listeners()
    tokens = await both.keys()
    backend = (await both.listeners())[victim]
    os.kill(backend, signal.SIGSTOP)
    try:
        await both.revoke(tokens)
        assert await both.statuses(tokens) == ALL_401
    finally:
        os.kill(backend, signal.SIGCONT)
