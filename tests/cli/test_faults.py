"""The one sentence with which a command tells of a database that fails."""

from __future__ import annotations

import socket

import asyncpg
import pytest

from lapel.cli.shared.faults import explain
from lapel.embedded.postgres.supervisor import EmbeddedPostgres

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
