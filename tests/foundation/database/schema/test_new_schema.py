"""The script for new databases makes what the migrations make, or nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.foundation.database import migrations
from lapel.foundation.database.schema.new_schema import make_schema
from tests.support.postgres import create_database, drop_database


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Generator[str]:
    yield create_database(postgres, "empty")
    drop_database(postgres, "empty")


def contents(server: EmbeddedPostgres, url: str) -> list[str]:
    """All definitions, rights and rows of a database. pg_dump writes a random word after each backslash."""
    done = subprocess.run([server.program("pg_dump"), url], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("\\")]


def test_the_script_makes_what_the_migrations_make_else_run_make_schema(
    postgres: EmbeddedPostgres, empty: str
) -> None:
    assert make_schema(empty)
    made = contents(postgres, empty)
    assert made == contents(postgres, postgres.dsn(database="template"))
    assert len(made) > 2_000
    migrations.upgrade(empty)  # finds nothing to do
    assert contents(postgres, empty) == made


def test_a_database_with_an_older_schema_is_left_to_the_migrations(
    postgres: EmbeddedPostgres, empty: str
) -> None:
    migrations.upgrade(empty, "0003")
    before = contents(postgres, empty)
    assert not make_schema(empty)
    assert contents(postgres, empty) == before


async def test_a_script_that_fails_leaves_nothing(postgres: EmbeddedPostgres, empty: str) -> None:
    connection = await asyncpg.connect(empty)
    await connection.execute("CREATE TABLE worlds (id bigint)")
    before = contents(postgres, empty)
    with pytest.raises(asyncpg.DuplicateTableError):
        await asyncio.to_thread(make_schema, empty)
    assert contents(postgres, empty) == before
    await connection.execute("DROP TABLE worlds")
    await connection.close()
    assert await asyncio.to_thread(make_schema, empty)


def test_a_new_folder_needs_no_alembic(empty: str) -> None:
    code = (
        "import sys; from lapel.hosting import prepare; "
        f"prepare._bring_schema({empty!r}); assert 'alembic' not in sys.modules; "
        f"prepare._bring_schema({empty!r}); assert 'alembic' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
