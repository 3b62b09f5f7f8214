"""What is dumped from one PostgreSQL can be restored into another build of it, and a failure says why."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Generator
from pathlib import Path

import asyncpg
import pytest

from lapel.cli.backup import postgres_programs
from lapel.cli.backup.postgres_programs import dump_database, find_programs, read_dump, restore_database
from lapel.cli.shared.faults import CommandError
from lapel.embedded.postgres.install import MAJOR
from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from lapel.settings import Settings
from tests.support.postgres import create_database, drop_database
from tests.support.running import settings_for

# A row that looks like what is left out of definitions.
TEXT = "ALTER TABLE ONLY public.organizations ALTER COLUMN name SET (pg_attver=1);"
# What PostgreSQL 17.12 of Debian keeps of each column, and this build does not know.
KEEP_OPTION = """
UPDATE pg_attribute SET attoptions = ARRAY['pg_attver=' || (63820680 + attnum)]
WHERE attrelid IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)
    AND attnum > 0
"""
INSERT = "INSERT INTO organizations (id, name, created_at) VALUES ('org_1', $1, now())"


@pytest.fixture
def target(postgres: EmbeddedPostgres) -> Generator[str]:
    yield create_database(postgres, "restored")
    drop_database(postgres, "restored")


async def execute(url: str, statement: str, *arguments: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def fetch_value(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def dumped(settings: Settings, dump: Path) -> None:
    async def write() -> None:
        connection = await asyncpg.connect(settings.database_url)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
                await asyncio.to_thread(dump_database, settings, dump, snapshot)
        finally:
            await connection.close()

    asyncio.run(write())


def of_psql(postgres: EmbeddedPostgres, dump: Path) -> str:
    """The dump as statements, for the first look of a person."""
    program = str(postgres.program("pg_restore"))
    done = subprocess.run([program, "--file=-", str(dump)], capture_output=True, text=True, check=True)
    return done.stdout


def test_options_that_only_the_dumped_server_knows_are_left_out(
    postgres: EmbeddedPostgres, fresh_database: str, target: str, tmp_path: Path
) -> None:
    asyncio.run(execute(fresh_database, INSERT, TEXT))
    asyncio.run(execute(fresh_database.replace("lapel@", "postgres@", 1), KEEP_OPTION))
    dump = tmp_path / "database.dump"
    dumped(settings_for(tmp_path, fresh_database, 8080), dump)
    written = of_psql(postgres, dump)
    assert written.count("SET (pg_attver=") > 500, "pg_dump writes them"
    read_dump(settings_for(tmp_path, target, 8080), dump)
    restore_database(settings_for(tmp_path, target, 8080), dump)
    assert asyncio.run(fetch_value(target, "SELECT name FROM organizations")) == TEXT
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema IN ('public', 'jobs')"
    assert asyncio.run(fetch_value(target, columns)) == asyncio.run(fetch_value(fresh_database, columns))


def test_a_restore_that_fails_says_the_reason_and_not_the_statement(
    fresh_database: str, target: str, tmp_path: Path
) -> None:
    dump = tmp_path / "database.dump"
    dumped(settings_for(tmp_path, fresh_database, 8080), dump)
    asyncio.run(execute(target, "CREATE TABLE events (a int)"))
    with pytest.raises(CommandError) as failed:
        restore_database(settings_for(tmp_path, target, 8080), dump)
    reason = 'could not execute query: ERROR: relation "events" already exists'
    assert str(failed.value) == f"pg_restore failed: pg_restore: error: {reason}"
    count = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    assert asyncio.run(fetch_value(target, count)) == 1, "nothing of it is kept"


def test_a_dump_that_is_damaged_is_not_read(fresh_database: str, tmp_path: Path) -> None:
    asyncio.run(execute(fresh_database, INSERT, TEXT))
    dump = tmp_path / "database.dump"
    dumped(settings_for(tmp_path, fresh_database, 8080), dump)
    whole = dump.read_bytes()
    dump.write_bytes(whole[:-20])
    with pytest.raises(CommandError, match="pg_restore failed: pg_restore: error: "):
        read_dump(settings_for(tmp_path, fresh_database, 8080), dump)


@pytest.fixture
def of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pg_restore of the server's own version, to be written: as if Lapel came with another version."""
    monkeypatch.setattr(postgres_programs, "_FOLDERS", (f"{tmp_path}/{{}}/bin",))
    monkeypatch.setattr(postgres_programs, "MAJOR", MAJOR - 1)
    own = tmp_path / str(MAJOR) / "bin" / "pg_restore"
    own.parent.mkdir(parents=True)
    own.touch(0o755)
    return own


def test_a_dump_is_read_back_by_the_program_of_the_servers_version(
    postgres: EmbeddedPostgres, fresh_database: str, of_the_server: Path, tmp_path: Path
) -> None:
    dump, told = tmp_path / "database.dump", tmp_path / "told"
    dumped(settings_for(tmp_path, fresh_database, 8080), dump)
    program = postgres.program("pg_restore")
    of_the_server.write_text(f'#!/bin/sh\necho "$1" >> {told}\nexec {program} "$@"\n')
    read_dump(settings_for(tmp_path, fresh_database, 8080), dump)
    assert told.read_text().splitlines() == ["--list", "--file=/dev/null"]


def test_a_program_that_says_much_before_it_reads_is_not_waited_for(
    fresh_database: str, of_the_server: Path, tmp_path: Path
) -> None:
    dump = tmp_path / "database.dump"
    dump.write_bytes(bytes(1 << 20))  # more than a pipe holds, as what the program says
    of_the_server.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --list ] && echo contents && exit\n'
        "head -c 1000000 /dev/zero | tr '\\0' '\\n' >&2\n"
        'wc -c | xargs echo "pg_restore: error: bytes" >&2\n'
        "exit 1\n"
    )
    with pytest.raises(CommandError, match=r"pg_restore: error: bytes 1048576$"):
        restore_database(settings_for(tmp_path, fresh_database, 8080), dump)


def test_the_programs_of_the_servers_version_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_programs, "_FOLDERS", (f"{tmp_path}/{{}}/bin",))
    own = tmp_path / "17" / "bin" / "pg_dump"
    own.parent.mkdir(parents=True)
    own.touch(0o755)
    assert next(find_programs("pg_dump", 17)) == str(own)
    ours = next(find_programs("pg_dump", MAJOR))
    assert (
        f" {MAJOR}." in subprocess.run([ours, "--version"], capture_output=True, text=True, check=True).stdout
    )
    assert str(own) not in find_programs("pg_dump", 16)
