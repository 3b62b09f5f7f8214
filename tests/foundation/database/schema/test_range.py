"""A server that knows only an older schema runs on a newer one, if the migrations in between say so."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.hosting import prepare
from lapel.hosting.data_folder import DataFolderError
from tests.support.client import api_client
from tests.support.postgres import create_database, drop_database
from tests.support.running import running
from tests.support.serving import run, told
from tests.support.tenants import bearer, make_tenant

if TYPE_CHECKING:
    from alembic.config import Config

OLDEST = "SELECT oldest_compatible FROM alembic_version"
# Revisions of before the range: servers of their time look for no range.
WITHOUT_RANGE = "0056"
# SQL after which a server of before may fail in what it reads or writes. Constraints and indexes may go.
CONTRACTS = re.compile(
    r"\bDROP\s+(TABLE|VIEW|COLUMN|TYPE|FUNCTION|SEQUENCE|SCHEMA)\b"
    r"|\bALTER\s+TABLE\b[^;]*\bDROP\s+(?!CONSTRAINT\b|COLUMN\b|DEFAULT\b|NOT\b|EXPRESSION\b|IDENTITY\b)\w"
    r"|\bRENAME\s+(TO|COLUMN|\w+\s+TO)\b"
    r"|\bSET\s+NOT\s+NULL\b"
    r"|\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b",
    re.IGNORECASE,
)
REVISION = """
from lapel.foundation.database.migrations import script

revision, down_revision = "{}", "{}"
{}


def upgrade() -> None:
    script("SELECT 1")
"""


@pytest.fixture
def migrated(postgres: EmbeddedPostgres) -> Generator[str]:
    yield create_database(postgres, "range", "template")
    drop_database(postgres, "range")


def value(url: str, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def assigned(revision: ast.Module) -> dict[str, object]:
    """The constants that a revision assigns."""
    return {
        target.id: node.value.value
        for node in revision.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def contractions(revision: ast.Module) -> list[str]:
    """What the SQL in a revision takes away, whatever function runs it."""
    texts = [
        re.sub(r"--[^\n]*", "", node.value)
        for node in ast.walk(revision)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        # Not what the revision says of itself in words.
        and not (revision.body and isinstance(revision.body[0], ast.Expr) and revision.body[0].value is node)
    ]
    return [" ".join(found.group().split()) for text in texts for found in CONTRACTS.finditer(text)]


def revisions() -> dict[str, ast.Module]:
    files = sorted((migrations.FOLDER / "versions").glob("[0-9]*_*.py"))
    return {file.name: ast.parse(file.read_text()) for file in files}


def test_each_revision_says_whether_older_servers_may_run_on_it() -> None:
    silent = [
        name
        for name, revision in revisions().items()
        if str(assigned(revision)["revision"]) > WITHOUT_RANGE
        and assigned(revision).get("serves_older") not in (True, False)
    ]
    assert silent == [], "say `serves_older = True` or `False`: see foundation/database/migrations"


def test_a_revision_that_takes_something_away_does_not_serve_older_servers() -> None:
    broken = {
        name: taken
        for name, revision in revisions().items()
        if assigned(revision).get("serves_older") is True and (taken := contractions(revision))
    }
    assert broken == {}, "say `serves_older = False`: a server of the revision before may still use this"


def test_the_revisions_that_took_something_away_are_known() -> None:
    taking = {name[:4]: taken for name, revision in revisions().items() if (taken := contractions(revision))}
    assert taking["0027"] == ["SET NOT NULL", "DROP COLUMN", "DROP COLUMN"]
    assert taking["0048"] == ["DROP COLUMN"]


@pytest.mark.parametrize(
    ("statement", "contracts"),
    [
        ("DROP TABLE devices", True),
        ("drop table if exists devices", True),
        ("ALTER TABLE devices\n    DROP COLUMN model", True),
        ("ALTER TABLE devices ADD COLUMN a int, DROP model", True),
        ("ALTER TABLE devices RENAME COLUMN model TO kind", True),
        ("ALTER TABLE devices RENAME model TO kind", True),
        ("ALTER TABLE devices RENAME TO things", True),
        ("ALTER TABLE devices ALTER COLUMN model SET NOT NULL", True),
        ("ALTER TABLE devices ALTER COLUMN model TYPE bytea USING model::bytea", True),
        ("ALTER TABLE devices ALTER model SET DATA TYPE bytea", True),
        ("-- DROP TABLE devices", False),
        ("ALTER TABLE devices DROP CONSTRAINT IF EXISTS devices_model_check", False),
        ("ALTER TABLE devices ALTER COLUMN model DROP NOT NULL", False),
        ("ALTER TABLE devices ADD COLUMN kind text NOT NULL DEFAULT ''", False),
        ("DROP INDEX IF EXISTS devices_newest", False),
        ("CREATE TABLE renamed (type text NOT NULL)", False),
    ],
)
def test_sql_that_takes_something_away_is_recognized(statement: str, contracts: bool) -> None:
    revision = ast.parse(f"def upgrade() -> None:\n    script({statement!r})")
    assert bool(contractions(revision)) is contracts


def test_the_database_keeps_the_oldest_revision_whose_servers_may_run(
    migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure, head = migrations._config, migrations.head()
    first = value(migrated, OLDEST)
    said = {"9001": "True", "9002": "False", "9003": "True", "9004": None}
    down = head
    for revision, older in said.items():
        word = "" if older is None else f"serves_older = {older}"
        (tmp_path / f"{revision}_step.py").write_text(REVISION.format(revision, down, word))
        down = revision

    def configured(dsn: str = "") -> Config:
        config = configure(dsn)
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", f"{migrations.FOLDER / 'versions'}\n{tmp_path}")
        return config

    monkeypatch.setattr(migrations, "_config", configured)
    kept: dict[str, object] = {}
    for revision in said:
        migrations.upgrade(migrated, revision)
        kept[revision] = value(migrated, OLDEST)
    assert kept == {"9001": first, "9002": "9002", "9003": "9002", "9004": "9004"}


def test_migrating_step_by_step_makes_the_range(postgres: EmbeddedPostgres) -> None:
    url = create_database(postgres, "stepwise")
    try:
        migrations.upgrade(url, WITHOUT_RANGE)
        with pytest.raises(DataFolderError, match="Run `lapel migrate`"):
            prepare.check_schema(url)
        migrations.upgrade(url)
        prepare.check_schema(url)
        assert str(value(url, OLDEST)) > WITHOUT_RANGE
    finally:
        drop_database(postgres, "stepwise")


async def migrate_further(url: str, *, contracts: bool) -> None:
    """What a migration of a version after this one leaves in the database."""
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    if contracts:
        await connection.execute("UPDATE alembic_version SET oldest_compatible = '9998'")
    await connection.close()


async def test_a_server_starts_and_serves_on_a_newer_schema(fresh_database: str, tmp_path: Path) -> None:
    await migrate_further(fresh_database, contracts=False)
    await asyncio.to_thread(prepare.check_schema, fresh_database)
    async with running(tmp_path, fresh_database) as live, api_client(live.url) as client:
        headers = bearer((await make_tenant(live.ports)).test_key)
        assert (await client.post("/v1/end-users", json={}, headers=headers)).status_code == 201
        assert (await client.get("/health/ready")).status_code == 200


def test_commands_of_an_older_version_work_and_leave_the_newer_schema(fresh_database: str) -> None:
    asyncio.run(migrate_further(fresh_database, contracts=False))
    env = {
        "LAPEL_DATABASE_URL": fresh_database,
        "LAPEL_SECRET": "a-secret-for-tests-that-is-long-enough",
        "LAPEL_S3_ENDPOINT": "http://127.0.0.1:9",
        "LAPEL_S3_ACCESS_KEY_ID": "a",
        "LAPEL_S3_SECRET_ACCESS_KEY": "b",
    }
    assert told("projects", "list", env=env)["data"] == []
    assert run("migrate", env=env).returncode == 0
    assert value(fresh_database, "SELECT version_num FROM alembic_version") == "9999"


def test_a_server_below_the_range_is_refused_with_a_sentence(fresh_database: str) -> None:
    asyncio.run(migrate_further(fresh_database, contracts=True))
    with pytest.raises(DataFolderError) as refused:
        prepare.check_schema(fresh_database)
    assert str(refused.value) == (
        "The database has schema 9999 of a newer Lapel, on which only versions with schema 9998 or newer may "
        f"run; this one knows {migrations.head()}. Use the newer one."
    )
