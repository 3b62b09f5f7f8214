"""Behind PgBouncer in transaction mode: nothing that it refuses, limits of time all the same, and advice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import asyncpg
import pytest

from lapel.cli.doctor.database_checks import connections
from lapel.embedded.postgres import install
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database.pool import Database
from lapel.foundation.ports import open_ports
from lapel.hosting.data_folder import DataFolderError
from lapel.hosting.prepare import prepare_database
from lapel.settings import Settings
from tests.support.client import api_client
from tests.support.database_proxy import KNOWN, database_proxy
from tests.support.patience import LONG, Deadline, patience
from tests.support.ports import free_ports
from tests.support.running import running, settings_for, working
from tests.support.serving import run
from tests.support.tenants import bearer, make_tenant

SHOWN = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('{}')"
LIMITS = SHOWN.format("idle_in_transaction_session_timeout")
OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
needs_pgbouncer = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="no pgbouncer on this machine")


def documented() -> str:
    """The pgbouncer.ini of the documentation."""
    (found,) = re.findall(r"```ini\n(\[databases\].*?)```", OPERATIONS.read_text(), re.DOTALL)
    return found


@pytest.fixture
def pgbouncer(postgres: EmbeddedPostgres, fresh_database: str) -> Generator[str]:
    """The URL of a PgBouncer as documented."""
    with start_pgbouncer(postgres, fresh_database) as url:
        yield url


@contextlib.contextmanager
def start_pgbouncer(postgres: EmbeddedPostgres, fresh_database: str, **more: str) -> Generator[str]:
    """The URL of a PgBouncer as documented; only addresses and passwords are those of the test, and `more`
    settings."""
    (port,) = free_ports(1)
    name = fresh_database.partition("?")[0].rpartition("/")[2]
    changes = {
        "lapel": f"host={postgres.sockets} dbname={name} user=lapel", "listen_port": str(port),
        "auth_type": "any", "auth_file": "", "unix_socket_dir": "", **more,
    }  # fmt: skip
    lines = [line for line in documented().splitlines() if line.partition(" =")[0] not in changes]
    lines.insert(lines.index("[databases]") + 1, f"lapel = {changes.pop('lapel')}")
    lines += [f"{key} = {value}" for key, value in changes.items()]
    who = install.account(lambda _: None)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # PgBouncer does not run as root
        (folder / "pgbouncer.ini").write_text("\n".join(lines))
        ids = {"user": who.uid, "group": who.gid, "extra_groups": []} if os.geteuid() == 0 else {}
        process = subprocess.Popen(["pgbouncer", "-q", str(folder / "pgbouncer.ini")], **ids)
        try:
            deadline = Deadline(LONG)
            while True:
                with (
                    contextlib.suppress(ConnectionRefusedError),
                    socket.create_connection(("127.0.0.1", port)),
                ):
                    break
                assert process.poll() is None
                assert not deadline.has_passed()
            yield f"postgresql://lapel@127.0.0.1:{port}/lapel"
        finally:
            process.terminate()
            process.wait()


async def test_no_session_begins_with_what_a_pooler_refuses(
    postgres: EmbeddedPostgres, fresh_database: str, tmp_path: Path
) -> None:
    name = fresh_database.partition("?")[0].rpartition("/")[2]
    async with database_proxy(postgres.sockets) as proxy:
        url = proxy.dsn.removesuffix("lapel") + name
        async with (
            running(tmp_path, url, LAPEL_LISTEN_DATABASE_URL=fresh_database, LAPEL_RATE_LIMITS="on") as live,
            api_client(live.url) as client,
            working(live),
        ):
            tenant = await make_tenant(live.ports)
            made = await client.post("/v1/end-users", json={}, headers=bearer(tenant.test_key))
            assert made.status_code == 201, made.text
            assert (await client.get("/health/ready")).status_code == 200
        sent = {parameter for startup in proxy.startups for parameter in startup}
        assert sent - KNOWN == set()
        assert {startup["database"] for startup in proxy.startups} == {name}
        assert any(startup.get("application_name") == "lapel" for startup in proxy.startups)


async def test_transactions_behind_a_pooler_have_their_limits(fresh_database: str) -> None:
    database = Database(fresh_database, max_size=1, lock_seconds=4, pooled=True)
    await database.open()
    async with database.transaction() as connection:
        assert list(await connection.fetchrow(LIMITS) or ()) == ["15s", "4s", "1min"]
        async with connection.transaction():
            assert list(await connection.fetchrow(LIMITS) or ()) == ["15s", "4s", "1min"]
    async with database.acquire() as connection, connection.transaction(isolation="serializable"):
        assert list(await connection.fetchrow(LIMITS) or ()) == ["15s", "4s", "1min"]
        assert await connection.fetchval("SHOW transaction_isolation") == "serializable"
    async with database.acquire() as connection:
        assert list(await connection.fetchrow(LIMITS) or ()) == ["0", "0", "0"], "and leave none behind"
    await database.close()


async def test_a_connection_to_postgresql_itself_has_limits_from_its_begin(fresh_database: str) -> None:
    database = Database(fresh_database, max_size=1, lock_seconds=4)
    await database.open()
    async with database.acquire() as connection:
        assert list(await connection.fetchrow(LIMITS) or ()) == ["15s", "4s", "1min"]
    await database.close()


async def findings(tmp_path: Path, url: str, listen: str | None = None) -> dict[str, tuple[str, str, str]]:
    """What doctor says of a PostgreSQL of the operator's own: state, detail and remedy of each part."""
    more = {"LAPEL_EMBEDDED_DATABASE": "off"} | ({"LAPEL_LISTEN_DATABASE_URL": listen} if listen else {})
    async with (
        open_ports(settings_for(tmp_path, url, 8080, **more)) as ports,
        ports.database.acquire() as connection,
    ):
        found = connections(connection, ports, 1)
        return {each.part: (each.state, each.detail, each.remedy or "") async for each in found}


async def test_doctor_shows_limits_and_room(fresh_database: str, tmp_path: Path) -> None:
    direct = await findings(tmp_path, fresh_database)
    assert direct.keys() == {"time limits", "connections"}
    shown = "statement_timeout 15s, lock_timeout 10s, idle_in_transaction_session_timeout 1min"
    assert direct["time limits"] == ("ok", shown, "")
    assert direct["connections"][0] == "ok"
    admin = await asyncpg.connect(fresh_database)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 30")
    await admin.close()
    state, detail, remedy = (await findings(tmp_path, fresh_database))["connections"]
    assert (state, detail) == ("warning", "30 for Lapel's role; 41 for this machine's API and 1 worker(s)")
    assert "max_connections" in remedy


async def test_doctor_names_the_setting_that_leads_nowhere(fresh_database: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    nowhere = f"postgresql://lapel@127.0.0.1:{port}/lapel?sslmode=disable"
    found = await findings(tmp_path, fresh_database, nowhere)
    told = "the database of LAPEL_LISTEN_DATABASE_URL does not answer: Connection refused."
    remedy = "Check LAPEL_LISTEN_DATABASE_URL, and the log of that PostgreSQL."
    assert found["pooler"] == ("broken", told, remedy)
    assert "time limits" in found, "and goes on"


async def test_doctor_warns_of_statements_without_limits(fresh_database: str, tmp_path: Path) -> None:
    """Another URL of the same database: it names no pooler, but Lapel takes it for one."""
    pooled = await findings(tmp_path, f"{fresh_database}&application_name=other", fresh_database)
    state, detail, remedy = pooled["time limits"]
    assert state == "warning"
    assert detail.startswith("statement_timeout 0, lock_timeout 0, idle_in_transaction_session_timeout 0: ")
    assert "ALTER ROLE CURRENT_USER SET statement_timeout = '15s'" in remedy


async def test_doctor_warns_of_a_standby_that_may_lack_commits(
    postgres: EmbeddedPostgres, fresh_database: str, tmp_path: Path
) -> None:
    """pg_receivewal is to PostgreSQL a standby that confirms nothing."""
    assert "standby" not in await findings(tmp_path, fresh_database)
    admin = await asyncpg.connect(fresh_database.replace("lapel@", "postgres@", 1))
    with (postgres.data / "pg_hba.conf").open("a") as rules:
        rules.write("local replication all peer map=own\n")
    await admin.execute("SELECT pg_reload_conf()")
    (tmp_path / "wal").mkdir()
    receiver = await asyncio.create_subprocess_exec(
        postgres.program("pg_receivewal"), "-D", tmp_path / "wal", "-h", postgres.sockets, "-U", "postgres",
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with patience(LONG):
            while not await admin.fetchval("SELECT count(*) FROM pg_stat_replication"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        state, _, remedy = (await findings(tmp_path, fresh_database))["standby"]
        assert state == "warning"
        assert "synchronous_standby_names" in remedy
    finally:
        receiver.terminate()
        await receiver.wait()
        await admin.close()


@needs_pgbouncer
async def test_a_server_works_behind_pgbouncer(pgbouncer: str, fresh_database: str, tmp_path: Path) -> None:
    async with (
        running(tmp_path, pgbouncer, LAPEL_LISTEN_DATABASE_URL=fresh_database) as live,
        api_client(live.url) as client,
        working(live),
    ):
        headers = bearer((await make_tenant(live.ports)).test_key)
        end_user = (await client.post("/v1/end-users", json={}, headers=headers)).json()["id"]
        made = await client.post("/v1/recordings", json={"end_user_id": end_user}, headers=headers)
        where = f"/v1/recordings/{made.json()['id']}"
        link = (await client.post(f"{where}/upload-url", json={}, headers=headers)).json()
        stored = await client.put(link["upload_url"], content=b"what was said", headers=link["headers"])
        assert stored.status_code == 200
        done = await client.post(f"{where}/upload-complete", json={}, headers=headers)
        assert done.status_code == 200, done.text
        async with live.ports.database.transaction() as connection:
            assert list(await connection.fetchrow(LIMITS) or ()) == ["15s", "4s", "1min"]
    assert (await findings(tmp_path, pgbouncer, fresh_database)).keys() == {"time limits"}
    through = await findings(tmp_path, pgbouncer, pgbouncer.replace("lapel@", "other@"))
    assert through["pooler"][1].startswith("LAPEL_LISTEN_DATABASE_URL leads through PgBouncer")


@needs_pgbouncer
def test_without_a_connection_past_it_lapel_says_what_to_set(
    pgbouncer: str, fresh_database: str, tmp_path: Path
) -> None:
    env = {
        "LAPEL_DATABASE_URL": pgbouncer,
        "LAPEL_SECRET": "a-secret-for-tests-that-is-long-enough",
        "LAPEL_S3_ENDPOINT": "http://127.0.0.1:9",
        "LAPEL_S3_ACCESS_KEY_ID": "a",
        "LAPEL_S3_SECRET_ACCESS_KEY": "b",
    }
    nowhere = ("--port", "0", "--data-dir", tmp_path / "none")
    for command in (("init",), ("serve", "--role", "api", *nowhere), ("serve", "--role", "worker", *nowhere)):
        done = run(*command, env=env)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert "set LAPEL_LISTEN_DATABASE_URL to a connection past it" in last, done.stderr
    (broken,) = (
        each
        for each in json.loads(run("doctor", "--json", env=env).stdout)["findings"]
        if each["part"] == "database"
    )
    assert "set LAPEL_LISTEN_DATABASE_URL" in broken["detail"]
    assert broken["remedy"] is None, "it is not in the log of PostgreSQL"
    env |= {"LAPEL_DATABASE_URL": fresh_database, "LAPEL_LISTEN_DATABASE_URL": pgbouncer}
    done = run("init", env=env)
    assert done.returncode == 1
    wrong = "LAPEL_LISTEN_DATABASE_URL names PgBouncer or another pooler: let it name PostgreSQL itself."
    assert done.stderr.startswith(f"lapel: {wrong}")


@needs_pgbouncer
@pytest.mark.parametrize(
    ("pool_mode", "refused"), [("transaction", True), ("session", False)], ids=["transaction", "session"]
)
def test_a_pooler_that_only_ignores_the_limits_is_refused_if_it_loses_notifications(
    postgres: EmbeddedPostgres, fresh_database: str, tmp_path: Path, pool_mode: str, refused: bool
) -> None:
    """A pooler of sessions loses none. `lapel serve` ends before it starts a process."""
    ignored = "statement_timeout,lock_timeout,idle_in_transaction_session_timeout"
    with start_pgbouncer(
        postgres, fresh_database, pool_mode=pool_mode, ignore_startup_parameters=ignored
    ) as url:
        given = {
            "LAPEL_DATABASE_URL": url,
            "LAPEL_SECRET": "s" * 40,
            "LAPEL_S3_ENDPOINT": "http://h",
            "LAPEL_ROLE": "api",
        }
        for settings, remedy in (
            (Settings.from_env(given), "let LAPEL_LISTEN_DATABASE_URL name PostgreSQL itself"),
            (
                Settings.from_env(given | {"LAPEL_LISTEN_DATABASE_URL": f"{url}?application_name=direct"}),
                "LAPEL_LISTEN_DATABASE_URL leads through",
            ),
        ):
            if refused:
                with pytest.raises(DataFolderError, match=remedy):
                    prepare_database(settings, None)
            else:
                prepare_database(settings, None)
        assert ("pooler" in asyncio.run(findings(tmp_path, url))) is refused, "doctor says the same"


@needs_pgbouncer
def test_a_pooler_without_prepared_statements_is_found_at_every_start(
    postgres: EmbeddedPostgres, fresh_database: str
) -> None:
    """Each start would name its statements as the one before, and PgBouncer keeps its connections."""
    script = (
        "import asyncio, sys\n"
        "from lapel.foundation.database.time_limits import shares_backends\n"
        "print(asyncio.run(shares_backends(sys.argv[1])))"
    )
    more = {"pool_mode": "transaction", "max_prepared_statements": "0"}
    with start_pgbouncer(postgres, fresh_database, **more) as url:
        for _ in range(3):
            asked = [sys.executable, "-c", script, url]
            done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)
            assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_a_server_starts_though_the_connection_for_listen_is_away(fresh_database: str) -> None:
    """Its processes log it, and try again."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    given = {"LAPEL_DATABASE_URL": fresh_database, "LAPEL_SECRET": "s" * 40, "LAPEL_S3_ENDPOINT": "http://h"}
    prepare_database(
        Settings.from_env(given | {"LAPEL_ROLE": "api", "LAPEL_LISTEN_DATABASE_URL": nowhere}), None
    )
