"""The database is a standby for a while, and sessions to it stay open when it is the primary again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.support.client import api_client
from tests.support.database_proxy import database_proxy
from tests.support.patience import LONG, patience
from tests.support.postgres import END_OTHERS
from tests.support.running import Running, running, working
from tests.support.serving import run
from tests.support.tenants import bearer, make_tenant

ONLY_READS = "the database accepts no writes: it is a standby, or `default_transaction_read_only` is on. "


async def only_read(url: str, *, ends: bool = False) -> None:
    """Sessions of the database that begin from now on only read; those of before end. `ends`: no longer."""
    admin = await asyncpg.connect(url)
    try:
        name = await admin.fetchval("SELECT current_database()")
        change = "RESET default_transaction_read_only" if ends else "SET default_transaction_read_only = on"
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(f"ALTER DATABASE {name} {change}")
        if not ends:
            await admin.execute(END_OTHERS)
    finally:
        await admin.close()


@pytest.fixture
def standby(own_postgres: EmbeddedPostgres, quick_folder: Path) -> Generator[EmbeddedPostgres]:
    """A standby with the content of `own_postgres`, which it does not follow."""
    own_postgres.stop()
    shutil.copytree(own_postgres.data, quick_folder / "standby" / "postgres")
    own_postgres.start()
    (quick_folder / "standby" / "postgres" / "standby.signal").touch()
    server = EmbeddedPostgres(quick_folder / "standby")
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Writer:
    """A client who writes."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self._client = client
        self._headers = bearer(key)

    async def write(self) -> httpx.Response:
        """Make an end user."""
        return await self._client.post("/v1/end-users", json={}, headers=self._headers)

    async def readiness(self) -> tuple[int, str]:
        """Status and state of /health/ready."""
        answer = await self._client.get("/health/ready")
        return answer.status_code, answer.json()["status"]

    async def check_away(self) -> None:
        """Every write is refused with a time to come back, and no request should be sent here."""
        for _ in range(3):
            answer = await self.write()
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
        assert await self.readiness() == (503, "unready")
        assert (await self._client.get("/health")).status_code == 503

    async def until_healed(self) -> None:
        """Wait until writes work, and then for all parts."""
        async with patience(LONG):
            while (await self.write()).status_code != 201:  # noqa: ASYNC110 - the other side is a server
                await asyncio.sleep(0.05)
            for _ in range(20):  # by whichever connection
                assert (await self.write()).status_code == 201
            while await self.readiness() != (200, "ready"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@asynccontextmanager
async def writer_at(live: Running) -> AsyncGenerator[Writer]:
    """A project with a worker."""
    async with api_client(live.url) as client, working(live):
        writer = Writer(client, (await make_tenant(live.ports)).test_key)
        await writer.until_healed()
        yield writer


async def test_sessions_that_only_read_are_ended_and_writes_heal_by_themselves(
    fresh_database: str, tmp_path: Path
) -> None:
    """The setting of the database is taken when a session begins, and stays as long as the session."""
    async with running(tmp_path, fresh_database) as live, writer_at(live) as writer:
        await only_read(fresh_database)
        await writer.check_away()
        await only_read(fresh_database, ends=True)
        await writer.until_healed()


@pytest.mark.deep
async def test_a_proxy_that_leads_to_a_standby_for_a_while_and_leaves_sessions_open(
    own_postgres: EmbeddedPostgres, standby: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with (
        database_proxy(own_postgres.sockets) as proxy,
        running(tmp_path, proxy.dsn) as live,
        writer_at(live) as writer,
    ):
        for _ in range(2):
            proxy.target = standby.sockets
            await proxy.end_sessions()
            await writer.check_away()
            proxy.target = own_postgres.sockets
            await writer.until_healed()


def test_a_server_that_is_started_against_a_standby_says_so(fresh_database: str, tmp_path: Path) -> None:
    asyncio.run(only_read(fresh_database))
    env = {
        "LAPEL_DATABASE_URL": fresh_database,
        "LAPEL_SECRET": "a-secret-for-tests-that-is-long-enough",
        "LAPEL_S3_ENDPOINT": "http://127.0.0.1:9",
        "LAPEL_S3_ACCESS_KEY_ID": "a",
        "LAPEL_S3_SECRET_ACCESS_KEY": "b",
    }
    for role in ("api", "worker"):
        done = run("serve", "--role", role, "--port", "0", "--data-dir", tmp_path / "none", env=env)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].removeprefix("lapel: ").startswith(ONLY_READS), done.stderr
        assert "LAPEL_DATABASE_URL" in done.stderr
