"""Every revision on a database that has rows in every table: what changes, and what must not."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.foundation.identity import seal
from lapel.foundation.identity.tokens import new_token
from tests.support.client import api_client
from tests.support.patience import patience
from tests.support.postgres import create_database, drop_database
from tests.support.running import running
from tests.support.tenants import INSERT_KEY, bearer

Connection: TypeAlias = "asyncpg.Connection[Any]"
ROWS = Path(__file__).with_name("rows_of_0008.sql")
SECRET = "the-secret-of-a-server-from-before-0009"
LIVE = 11
OTHERS = 13
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
KEY_OF = """
SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = $1::text::regclass AND i.indisprimary
"""
NAMES = re.compile(r"\b([a-z]{2,4}):([a-z]+)\b")
# Revisions of several transactions: one that was killed before its last word is run again.
IN_STEPS = ("0011", "0013", "0015", "0016", "0018", "0021")
UNFINISHED = r"""
SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid OR indexrelid::regclass::text LIKE '%\_new'
"""
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)

# Connections of processes that migrate, or wait until another one has.
MIGRATING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%advisory_xact_lock%'
"""

END_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%advisory_xact_lock%'
"""


def full(name: str) -> str:
    """`eu:ada` as an id of the right length."""
    return NAMES.sub(lambda found: f"{found[1]}_{found[2]:0<24}", name)


@pytest.fixture
def older(postgres: EmbeddedPostgres) -> Generator[str]:
    """A database of revision 0008 with its rows, and keys that were made without the name of a secret."""
    dsn = create_database(postgres, "older")
    migrations.upgrade(dsn, "0008")
    yield dsn
    drop_database(postgres, "older")


async def contents(connection: Connection) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Every row of every table, by primary key."""
    found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for (table,) in await connection.fetch(TABLES):
        key = await connection.fetchval(KEY_OF, table)
        rows = [json.loads(row[0]) for row in await connection.fetch(f"SELECT to_jsonb(t) FROM {table} t")]
        found[table] = {tuple(row[column] for column in key): row for row in rows}
    return found


async def fill(connection: Connection) -> dict[int, str]:
    """The rows, and a secret key of each world."""
    await connection.execute(full(ROWS.read_text()))
    keys: dict[int, str] = {}
    for world in (LIVE, OTHERS):
        keys[world] = new_token("sk_live")
        hashed = seal.token_hasher(SECRET, None).hash(keys[world])
        at = await connection.fetchval("SELECT created_at FROM organizations LIMIT 1")
        scopes = ["audit:read", "commands:read", "config:read", "devices:read", "end_users:read",
                  "recordings:read", "transcriptions:read"]  # fmt: skip
        await connection.execute(
            INSERT_KEY,
            world,
            full("key:mine"),
            hashed,
            "secret",
            None,
            "sk_live_…abcd",
            scopes,
            None,
            None,
            at,
        )
    return keys


def upgrade_each_step_twice(dsn: str) -> None:
    """To 0021; revisions in several transactions are begun anew after all their work."""

    async def forget(revision: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
        if revision == "0014":  # 0015 was killed before its index had its name
            await connection.execute("ALTER INDEX speech_work_line RENAME TO speech_work_line_new")
        await connection.close()

    for revision in IN_STEPS:
        migrations.upgrade(dsn, revision)
        asyncio.run(forget(f"{int(revision) - 1:04}"))
    migrations.upgrade(dsn, IN_STEPS[-1])


# What 0009 to 0021 promise: (table, key) -> the columns that change. All others are as they were.
CHANGES = {
    # 0011: made under the present binding, surely. 0021: the newest of the completed ones.
    ("recordings", LIVE, "rec:once"): {"binding_generation": 1, "transcription_id": "txn:newer"},
    ("recordings", LIVE, "rec:his"): {"binding_generation": 2},
    ("recordings", LIVE, "rec:third"): {"binding_generation": 3},
    ("recordings", LIVE, "rec:api"): {"transcription_id": "txn:only"},
    ("recordings", OTHERS, "rec:once"): {"binding_generation": 1, "transcription_id": "txn:old"},
    # 0013: whom an event tells of, for whom a device was named, what was left of the erased.
    ("events", LIVE, "evt:adas"): {"end_user_id": "eu:ada"},
    ("events", OTHERS, "evt:gones"): {"end_user_id": "eu:gone"},
    ("audit_log", LIVE, "aud:gone"): {"resource_id": None},
    ("api_keys", LIVE, "key:gone"): {"end_user_id": None, "name": None},
    ("idempotency_keys", LIVE, "key:one", "gone"): {"end_user_id": None},
    # 0013 and 0016: an app with a key reported over Bluetooth; recordings that wait are a number.
    ("devices", LIVE, "dev:once"): {
        "named_for": "eu:ada", "last_seen_by": "ble", "last_synced_by": None,
        "recording_state": {
            "device_state": "idle", "pending_recordings": 0, "flags": 3, "connection_type": ["4g"],
        },
    },
    ("devices", LIVE, "dev:twice"): {
        "last_seen_by": None, "last_synced_by": None,
        "recording_state": {"flags": 1, "pending_recordings": 0},
    },
    ("devices", LIVE, "dev:again"): {"named_for": "eu:ada"},
    ("devices", LIVE, "dev:free"): {"last_seen_by": None},
}  # fmt: skip
# What columns are where a row says nothing else.
NEW = {
    "api_keys": {"secret_id": None, "issued_revoked_at": None},
    "device_tokens": {"secret_id": None},
    "end_user_tokens": {"secret_id": None, "expires_at": None, "issued_by": None},
    "upload_tokens": {"issued_by": None},
    "recordings": {"binding_generation": None},
    "provider_slots": {"allow_training": False},
    "events": {"end_user_id": None},
    "devices": {
        "named_for": None, "diagnostics_day": None, "diagnostics_bytes": None, "diagnostics_taken": None,
    },
    "speech_work": {"turns": 0, "worker": None},
    "commands": {"inferred": False},
    "erasures": {"entered": True},
    "transcriptions": {"segments_plain": None},
}  # fmt: skip


async def test_every_row_of_before_is_there_and_changed_as_the_revisions_say(
    older: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(migrations, "BATCH_ROWS", 2)
    connection = await asyncpg.connect(older)
    keys = await fill(connection)
    before = await contents(connection)
    assert [table for table, rows in before.items() if not rows] == []
    await asyncio.to_thread(upgrade_each_step_twice, older)
    after = await contents(connection)
    expected = before
    for table, rows in expected.items():
        for row in rows.values():
            row.update(NEW.get(table, {}))
    for (table, *key), columns in CHANGES.items():
        named = tuple(full(each) if isinstance(each, str) else each for each in key)
        expected[table][named] |= {
            column: full(value) if isinstance(value, str) else value for column, value in columns.items()
        }
    del expected["events"][LIVE, full("evt:gones")]  # its end user is erased
    new_tables = after.keys() - expected.keys()
    assert {table: rows for table, rows in after.items() if table in new_tables and rows} == {}
    for table, rows in expected.items():
        assert after[table] == rows, table
    await asyncio.to_thread(migrations.upgrade, older)
    newest = await contents(connection)
    # 0032: whose recording an event tells of. A deleted recording has no row.
    whose = {key[1]: row["end_user_id"] for key, row in newest["events"].items() if key[0] == LIVE}
    told = {"evt:adas": "eu:ada", "evt:nobodys": None, "evt:recs": "eu:ada", "evt:txns": "eu:ben"}
    assert whose == {full(event): person and full(person) for event, person in told.items()}
    assert await connection.fetch(UNFINISHED) == []
    assert await connection.fetchval("SELECT to_regclass('speech_work_line')") is not None
    assert {table: newest[table].keys() for table in after} == {
        table: rows.keys() for table, rows in after.items()
    }
    await connection.close()
    await answers(older, keys, tmp_path)


async def answers(dsn: str, keys: dict[int, str], folder: Path) -> None:
    """The server answers for them; the client reads every answer as the contract has it."""
    async with (
        running(folder / "data", dsn, LAPEL_SECRET=SECRET) as server,
        api_client(server.url) as client,
    ):

        async def get(path: str, world: int = LIVE) -> dict[str, Any]:
            answer = await client.get(full(path), headers=bearer(keys[world]))
            assert answer.status_code == 200, (path, answer.text)
            return answer.json()

        for path in (
            "/v1/api-keys", "/v1/erasures", "/v1/audit-log", "/v1/usage", "/v1/end-users", "/v1/devices",
            "/v1/devices/dev:once", "/v1/devices/dev:once/state", "/v1/devices/dev:twice/state",
            "/v1/devices/dev:once/commands", "/v1/devices/dev:once/config/upload", "/v1/recordings/rec:once",
            "/v1/transcriptions/txn:newer?include=words", "/v1/transcriptions/txn:failing",
            "/v1/transcriptions",
        ):  # fmt: skip
            await get(path)
        recordings = (await get("/v1/recordings"))["data"]
        assert {each["id"]: each["transcription_id"] for each in recordings} == {
            full(name): current and full(current)
            for name, current in {
                "rec:once": "txn:newer", "rec:hers": None, "rec:his": "txn:same", "rec:first": None,
                "rec:third": "txn:bad", "rec:ownerless": None, "rec:lost": "txn:run", "rec:api": "txn:only",
            }.items()
        }  # fmt: skip
        assert len((await get("/v1/recordings", OTHERS))["data"]) == 1
        assert len((await get("/v1/end-users"))["data"]) == 2
        transcription = await get("/v1/transcriptions/txn:newer")
        assert [sorted(each) for each in transcription["segments"]] == [
            ["confidence", "end", "speaker", "start", "text"]
        ]


async def test_a_reader_that_stays_in_a_table_holds_up_nobody_else(
    older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_PATIENCE", 0.2)
    monkeypatch.setattr(migrations, "LOCK_PAUSE", 0.2)
    staying, others = await asyncpg.connect(older), await asyncpg.connect(older)
    try:
        async with staying.transaction():
            await staying.fetch("SELECT id FROM recordings")
            upgrading = asyncio.create_task(asyncio.to_thread(migrations.upgrade, older))
            async with patience(60):
                while not await others.fetchval(WAITING):  # noqa: ASYNC110 - another process waits
                    await asyncio.sleep(0.01)
                # 0009 has changed these tables; 0011 waits for the other one.
                for table in ("api_keys", "device_tokens", "recordings"):
                    await others.fetch(f"SELECT * FROM {table}")
            assert not upgrading.done()
        await upgrading
        assert await migrations.current(others) == migrations.head()
    finally:
        await staying.close()
        await others.close()


async def test_an_index_is_built_while_another_process_waits_to_migrate(
    older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_PAUSE", 0.2)
    staying, others = await asyncpg.connect(older), await asyncpg.connect(older)
    code = f"from lapel.foundation.database import migrations; migrations.upgrade({older!r})"
    try:
        async with staying.transaction():
            await staying.fetch("SELECT id FROM recordings")
            first = asyncio.create_task(asyncio.to_thread(migrations.upgrade, older))
            while not await others.fetchval(WAITING):  # noqa: ASYNC110 - another process waits
                await asyncio.sleep(0.01)
            second = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
            while await others.fetchval(MIGRATING) < 2:  # noqa: ASYNC110 - another process waits
                await asyncio.sleep(0.01)
        try:
            async with patience(60):
                await asyncio.shield(first)
        except TimeoutError:
            await others.execute(END_WAITING)  # so that the first one ends, too
            raise
        finally:
            await asyncio.wait({first, asyncio.create_task(second.wait())})
        assert second.returncode == 0
        assert await migrations.current(others) == migrations.head()
    finally:
        await staying.close()
        await others.close()
