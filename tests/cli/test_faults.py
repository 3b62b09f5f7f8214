"""The one sentence with which a command tells of a database that fails."""

from __future__ import annotations

import socket
from pathlib import Path

import asyncpg
import pytest

from lapel.cli.shared.faults import explain
from lapel.embedded.postgres.supervisor import EmbeddedPostgres, _end
from lapel.foundation.storage.errors import StoreUnavailable
from tests.support.serving import run

MORE = "`lapel doctor` says more."


async def test_a_database_that_is_away_is_told_in_the_systems_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    with pytest.raises(OSError, match="Connect call failed") as caught:
        await asyncpg.connect(f"postgresql://u:hunter2@127.0.0.1:{port}/none", ssl=False)
    assert explain(caught.value) == f"the database does not answer: Connection refused. {MORE}"


async def test_what_the_database_refuses_is_told_in_its_own_words(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.dsn(database="postgres"))
    try:
        with pytest.raises(asyncpg.UndefinedColumnError) as caught:
            await connection.execute("SELECT datnam FROM pg_database")
        with pytest.raises(asyncpg.QueryCanceledError) as late:
            await connection.execute("SET statement_timeout = 1; SELECT pg_sleep(60)")
    finally:
        await connection.close()
    assert explain(caught.value) == (
        'the database refuses a statement: column "datnam" does not exist; HINT:  Perhaps you meant to '
        f'reference the column "pg_database.datname". {MORE}'
    )
    assert explain(late.value) == (
        f"the database does not answer: canceling statement due to statement timeout. {MORE}"
    )
    with pytest.raises(asyncpg.InterfaceError) as closed:
        await connection.execute("SELECT 1")
    assert explain(closed.value) == f"the database does not answer: connection is closed. {MORE}"


def test_a_database_that_is_too_slow_is_told_so() -> None:
    assert explain(TimeoutError()) == f"the database does not answer: no answer in time. {MORE}"


def test_in_doctor_a_fault_does_not_advise_doctor() -> None:
    for fault in (TimeoutError(), StoreUnavailable("it is away"), asyncpg.PostgresError("no")):
        assert MORE in (explain(fault) or "")
        assert "doctor" not in (explain(fault, in_doctor=True) or "doctor")


@pytest.mark.parametrize(
    ("user", "database", "words"),
    [
        ("lapel", "nowhere", 'does not exist: database "nowhere" does not exist. Make it with `createdb`'),
        ("stranger", "postgres", "refuses the user: "),
    ],
)
@pytest.mark.parametrize("command", ["init", "migrate", "serve"])
def test_a_wrong_database_url_is_told_in_one_line(
    command: str, user: str, database: str, words: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    env = {
        "LAPEL_DATABASE_URL": postgres.dsn(user, database),
        "LAPEL_SECRET": "s" * 32,
        "LAPEL_DATA_DIR": str(tmp_path),
    }
    done = run(command, env=env)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"lapel: The database of LAPEL_DATABASE_URL {words}")


def test_the_setting_whose_database_fails_is_named(fresh_database: str, tmp_path: Path) -> None:
    """Not the other one, which works."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    env = {
        "LAPEL_DATABASE_URL": fresh_database,
        "LAPEL_LISTEN_DATABASE_URL": f"postgresql://u:hunter2@127.0.0.1:{port}/none?sslmode=disable",
        "LAPEL_S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "LAPEL_S3_ACCESS_KEY_ID": "a",
        "LAPEL_S3_SECRET_ACCESS_KEY": "b",
        "LAPEL_SECRET": "s" * 32,
        "LAPEL_DATA_DIR": str(tmp_path / "data"),
    }
    told = "the database of LAPEL_LISTEN_DATABASE_URL does not answer: Connection refused."
    for command in (["migrate"], ["backup", str(tmp_path / "backup")]):
        done = run(*command, env=env)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"lapel: {told} {MORE}")


def test_the_end_of_a_programs_output_is_not_cut_within_a_word() -> None:
    words = " ".join(f"word{number}" for number in range(400))
    told = _end(f"first line\n{words}\nlast line\n")
    assert told.endswith("word399 | last line")
    assert told.startswith("… word")
    assert told.split()[1] in words.split()
    assert _end("one\ntwo\n") == "one | two"
