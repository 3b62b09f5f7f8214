"""Typed rows: made by position, refused where the columns are others."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import pytest

from lapel.foundation.database.rows import (
    fetch_only_row,
    fetch_only_value,
    fetch_row,
    fetch_rows,
    fetch_value,
    fetch_values,
)


class Pair(msgspec.Struct, frozen=True):
    id: str
    size: int


class Triple(Pair, frozen=True):
    more: bool


PAIRS = "SELECT 'a' || n AS id, n AS size FROM generate_series(1, $1::integer) n"


@pytest.fixture
async def connection(fresh_database: str) -> Any:
    connection = await asyncpg.connect(fresh_database)
    yield connection
    await connection.close()


async def test_rows_are_objects(connection: Any) -> None:
    assert await fetch_rows(connection, Pair, PAIRS, 2) == [Pair("a1", 1), Pair("a2", 2)]
    assert await fetch_rows(connection, Pair, PAIRS, 0) == []
    assert await fetch_row(connection, Pair, PAIRS, 2) == Pair("a1", 1)
    assert await fetch_row(connection, Pair, PAIRS, 0) is None
    assert await fetch_only_row(connection, Pair, PAIRS, 1) == Pair("a1", 1)
    with pytest.raises(AssertionError, match="no row"):
        await fetch_only_row(connection, Pair, PAIRS, 0)
    longer = await fetch_row(connection, Triple, "SELECT 'a' AS id, 1 AS size, true AS more")
    assert longer == Triple("a", 1, True)


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1 AS size, 'a' AS id", "SELECT 'a' AS id", "SELECT 'a' AS id, 1 AS size, 2 AS more"],
)
async def test_other_columns_are_refused(connection: Any, statement: str) -> None:
    with pytest.raises(TypeError, match="Pair has the fields"):
        await fetch_row(connection, Pair, statement)
    with pytest.raises(TypeError, match="Pair has the fields"):
        await fetch_rows(connection, Pair, statement)


async def test_values_are_checked(connection: Any) -> None:
    assert await fetch_value(connection, int, "SELECT 1") == 1
    assert await fetch_value(connection, int, "SELECT NULL::int") is None
    assert await fetch_value(connection, int, "SELECT 1 WHERE false") is None
    assert await fetch_only_value(connection, str, "SELECT 'a'") == "a"
    assert await fetch_values(connection, str, "SELECT unnest(ARRAY['a', 'b'])") == ["a", "b"]
    with pytest.raises(TypeError, match="str"):
        await fetch_value(connection, int, "SELECT 'a'")
    with pytest.raises(AssertionError, match="no value"):
        await fetch_only_value(connection, int, "SELECT NULL::int")
    with pytest.raises(TypeError, match="not every"):
        await fetch_values(connection, str, "SELECT unnest(ARRAY['a', NULL])")
