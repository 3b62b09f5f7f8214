"""The rows that the code reads are those that PostgreSQL gives: the same columns, types and states."""

from __future__ import annotations

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import asyncpg
import msgspec
import pytest

from lapel.foundation.database import rows
from tests.support.statements import modules

ROWS = ("fetch_row", "fetch_rows", "fetch_only_row", "fetch_found")
VALUES = ("fetch_value", "fetch_only_value", "fetch_values")

# Functions that pass a statement on which they were given.
PASSED_ON = {
    "lapel.foundation.database.rows.fetch_only_row",
    "lapel.foundation.database.rows.fetch_found",
    "lapel.foundation.database.rows.fetch_only_value",
}

# What asyncpg makes of PostgreSQL's types; jsonb stays text (foundation/database/connection.py).
PYTHON: dict[str, object] = {
    "bool": bool,
    "bytea": bytes,
    "date": date,
    "float4": float,
    "float8": float,
    "int2": int,
    "int4": int,
    "int8": int,
    "json": str,
    "jsonb": str,
    "text": str,
    "timestamptz": datetime,
    "int8[]": list[int],
    "text[]": list[str],
}


# Columns that the schema lets have any text: only our own code writes them.
UNCHECKED = {"error_code", "last_seen_by", "last_synced_by", "provider", "scopes", "slot", "source", "type"}
# Columns that a statement makes of another one: a media that is being verified is shown as pending.
MADE = {"media_status"}

# A value that the statements write: of organizations, whose overrides have a table of their own.
ADDED: dict[str, set[object]] = {"level": {"organization"}}


@dataclass(frozen=True, slots=True)
class Read:
    """A statement that a function reads; `kind`: of rows, or (`value`) of a single value."""

    function: str
    kind: Any
    statement: str
    value: bool


def calls(module: str) -> Iterator[tuple[str, ast.Call]]:
    """The calls of rows.py in a module, each with the function in which it stands."""
    source = Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ROWS + VALUES:
                    yield f"{module}.{function.name}", node


def reads() -> Iterator[Read]:
    """Every statement that is read by rows.py. Raises AssertionError for one that is not a constant."""
    for name in modules():
        names = vars(importlib.import_module(name))
        for function, call in calls(name):
            if function in PASSED_ON:
                continue
            kind = eval(ast.unparse(call.args[1]), names)
            for statement in choices(function, call.args[2], names):
                yield Read(function, kind, statement, ast.unparse(call.func) in VALUES)


def choices(function: str, asked: ast.expr, names: dict[str, Any]) -> Iterator[str]:
    """The statements that an argument may be: one, one of two, or any of a table of statements."""
    if isinstance(asked, ast.IfExp):
        yield from choices(function, asked.body, names)
        yield from choices(function, asked.orelse, names)
        return
    constant = ast.unparse(asked.value if isinstance(asked, ast.Subscript) else asked)
    assert constant.rpartition(".")[2].isupper(), f"{function}: {constant} is not a constant"
    found = eval(constant, names)
    yield from found.values() if isinstance(asked, ast.Subscript) else (found,)


def fields(kind: Any) -> list[tuple[str, Any]]:
    """Names and annotations of a kind of rows."""
    return [(each.name, each.type) for each in msgspec.structs.fields(kind)]


def python_type(annotation: Any) -> object:
    """An annotation without None, and with the type of its literals."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return python_type(arguments[0])
    if origin is list:
        return GenericAlias(list, (python_type(arguments[0]),))
    if origin in (Union, UnionType):
        (one,) = {python_type(each) for each in arguments if each is not NoneType}
        return one
    if origin is Literal:
        (one,) = {type(each) for each in arguments}
        return one
    return annotation


def literals(annotation: Any) -> set[object]:
    """The values that an annotation allows, if it lists them."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {value for each in get_args(annotation) for value in literals(each)}


@pytest.fixture
async def database(fresh_database: str) -> AsyncGenerator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(fresh_database)
    yield connection
    await connection.close()


async def columns(database: asyncpg.Connection[Any], statement: str) -> list[tuple[str, object]]:
    """Names and Python types of the columns that a statement gives."""
    prepared = await database.prepare(statement)
    return [(each.name, PYTHON[each.type.name]) for each in prepared.get_attributes()]


def differs(read: Read, given: list[tuple[str, object]]) -> bool:
    """Whether a function reads something else than the columns that PostgreSQL gives."""
    if read.value:
        return given[0][1] != read.kind
    return given != [(name, python_type(each)) for name, each in fields(read.kind)]


def test_no_module_calls_the_functions_of_rows_by_its_name() -> None:
    """`rows.fetch_row(…)` would be left out of `calls`, and so compared with nothing."""
    for name in modules():
        if name != rows.__package__:
            held = vars(importlib.import_module(name)).values()
            assert not any(each is rows for each in held), name


async def test_rows_have_the_columns_of_their_statements(database: asyncpg.Connection[Any]) -> None:
    found = list(reads())
    assert len(found) >= 220
    for read in found:
        given = await columns(database, read.statement)
        assert not differs(read, given), f"{read.function} reads {read.kind}; PostgreSQL gives {given}"


async def test_another_type_name_or_order_is_noticed(database: asyncpg.Connection[Any]) -> None:
    kind = msgspec.defstruct(
        "Kind",
        [
            ("id", str),
            ("state", Literal["open", "closed"]),
            ("size", int | None),
            ("may", list[Literal["read"]]),
        ],
    )
    good = "SELECT 'a'::text AS id, 'open'::text AS state, 1::bigint AS size, '{read}'::text[] AS may"
    assert not differs(Read("", kind, good, False), await columns(database, good))
    for statement in (
        good.replace("1::bigint", "true"),
        good.replace("state", "status"),
        good.replace("'{read}'::text[]", "'{1}'::bigint[]"),
        "SELECT 'open'::text AS state, 'a'::text AS id, 1::bigint AS size, '{read}'::text[] AS may",
        f"{good}, 2 AS more",
    ):
        assert differs(Read("", kind, statement, False), await columns(database, statement))
    assert differs(Read("", int, good, True), await columns(database, good))


async def test_states_are_those_that_the_columns_allow(database: asyncpg.Connection[Any]) -> None:
    allowed: defaultdict[str, list[set[object]]] = defaultdict(list)
    for row in await database.fetch(
        "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE contype = 'c'"
    ):
        for column, values in re.findall(r"\((\w+) = ANY \(ARRAY\[([^\]]*)\]", row["text"]):
            allowed[column].append(set(re.findall(r"'([^']*)'", values)))
    assert {"open", "held", "erased", "closed"} in allowed["state"]
    for kind in {read.kind for read in reads() if not read.value}:
        for name, annotation in fields(kind):
            states = literals(annotation)
            if states and name not in UNCHECKED | MADE:
                # A column of a media beside those of its recording has the prefix.
                column = name if name in allowed else name.removeprefix("media_")
                assert states - ADDED.get(name, set()) in allowed[column], (
                    f"{kind.__name__}.{name}: {allowed[column]}"
                )
