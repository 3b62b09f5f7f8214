"""PostgreSQL's generic plans of statements: those that hold for any parameters."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from lapel.embedded.postgres.supervisor import EmbeddedPostgres
from tests.support.postgres import create_database, drop_database


@asynccontextmanager
async def filled(database: str, script: str) -> AsyncGenerator[asyncpg.Connection[Any]]:
    """A connection to a database that `script` has filled, with current statistics."""
    await fill(database, script)
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


def filled_once(script: str) -> Callable[..., AsyncGenerator[str]]:
    """A fixture of a test file: the name of a database that `script` has filled, for `copy_of`."""

    @pytest.fixture(scope="module")
    async def name(postgres: EmbeddedPostgres) -> AsyncGenerator[str]:
        async with filled(create_database(postgres, "filled", "template"), script):
            pass
        yield "filled"
        drop_database(postgres, "filled")

    return name


@asynccontextmanager
async def copy_of(server: EmbeddedPostgres, name: str) -> AsyncGenerator[asyncpg.Connection[Any]]:
    """A connection to a copy of the database `name`, which has its statistics too."""
    connection = await asyncpg.connect(create_database(server, f"{name}_copy", name))
    try:
        yield connection
    finally:
        await connection.close()
        drop_database(server, f"{name}_copy")


async def fill(database: str, script: str) -> None:
    """Run `script` without triggers: to look up what each row refers to takes about as long as the rows.
    Afterwards the statistics are current.

    Only the administrator may do this. The references themselves stay: the planner knows of them.
    """
    connection = await asyncpg.connect(database, user="postgres")
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(script)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def steps_of(connection: asyncpg.Connection[Any], sql: str) -> list[dict[str, Any]]:
    """All steps of a prepared statement's plan, in order."""
    count = len((await connection.prepare(sql)).get_parameters())
    async with connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE asked AS {sql}")
        values = f"({', '.join(['NULL'] * count)})" if count else ""
        text = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked {values}")
    await connection.execute("DEALLOCATE asked")
    return list(nodes(json.loads(text)[0]["Plan"]))


async def indexes_of(connection: asyncpg.Connection[Any], sql: str, *, may_sort: bool = False) -> list[str]:
    """The indexes that a prepared statement reads, in order.

    Raises AssertionError when it reads a whole table, or sorts without `may_sort`.
    """
    steps = await steps_of(connection, sql)
    kinds = {node["Node Type"] for node in steps}
    refused = {"Seq Scan"} | (set() if may_sort else {"Sort", "Incremental Sort"})
    assert not kinds & refused, json.dumps(steps[0], indent=2)
    return [node["Index Name"] for node in steps if "Index Name" in node]


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All steps of a plan."""
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)
