"""The SQL statements of the product, and which tables they touch without a world."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache

import asyncpg

import lapel

_SQL = re.compile(
    r"^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|TRUNCATE|COPY|MERGE)\b(?s:.*)", re.IGNORECASE
)
_TOUCHED = re.compile(
    r"\b(?P<verb>FROM|JOIN|UPDATE(?!\s+SET\b)|INTO|USING)\s+(?:ONLY\s+)?(?P<table>[a-z_][a-z_.]*)"
    r"(?:\s+(?:AS\s+)?(?P<alias>(?!(?:where|on|set|order|group|join|left|inner|cross|limit|values|select|for|using"
    r"|returning|default|natural|full|right|union|offset|having)\b)[a-z_]+))?",
    re.IGNORECASE,
)


def modules() -> list[str]:
    """Every module of the package, but for the migrations: those are about tables, not tenants."""
    found = [each.name for each in pkgutil.walk_packages(lapel.__path__, "lapel.")]
    return [name for name in found if ".migrations.versions" not in name and not name.endswith(".env")]


@cache
def statements(named: tuple[str, ...] | None = None) -> dict[str, str]:
    """Every SQL statement that is a constant of a module, by its full name. `named`: only these modules."""
    found: dict[str, str] = {}
    for name in modules() if named is None else named:
        module = importlib.import_module(name)
        for constant, value in vars(module).items():
            if constant.isupper():
                for part, text in _texts(constant, value):
                    if _SQL.match(text):
                        found.setdefault(f"{name}.{part}", text)
    return found


def _texts(name: str, value: object) -> Iterator[tuple[str, str]]:
    """The texts of a constant: itself, or the values of a dict."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        yield from ((f"{name}[{key}]", each) for key, each in value.items() if isinstance(each, str))


async def rows(url: str, statement: str) -> list[asyncpg.Record]:
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def tenant_tables(url: str) -> set[str]:
    """The tables that have a world."""
    found = await rows(
        url,
        "SELECT c.table_name FROM information_schema.columns c WHERE c.table_schema = 'public' "
        "AND c.column_name = 'world_id' AND c.table_name !~ '^search_vectors_[0-9]'",  # partitions
    )
    return {row["table_name"] for row in found}


_ARGUMENT = r"(?:ANY\s*\(\s*)?(?:ARRAY\s*\[\s*)?\$\d"
# `world_id = $1`, `world_id = ANY($1)`, `(world_id, id) = ($1, $2)`, `(world_id, id) IN (SELECT … unnest($1…`
_GIVEN = re.compile(
    rf"world_id\s*=\s*{_ARGUMENT}|\([^()]*world_id[^()]*\)\s*(?:=\s*\(\s*\$\d|(?:IN|=\s*ANY)\s*\(\s*SELECT[^;]*\$\d)",
    re.IGNORECASE,
)
# `… unnest(…$1…) … AS asked (world_id, …) … world_id = asked.world_id`: the questions of several callers, and
# `… (SELECT $1…) AS asked (world_id, …) …`: the question of one.
_ASKED = re.compile(
    r"(?:\bunnest\s*\(.*|\(SELECT\s)\$\d.*\bAS asked\s*\(\s*world_id\b.*world_id\s*=\s*asked\.world_id",
    re.IGNORECASE | re.DOTALL,
)


def faults(statement: str, tables: set[str]) -> Iterator[str]:
    """The tenant tables that a statement touches without tying them to a world."""
    text = re.sub(r"--[^\n]*", "", statement)
    touched = [each for each in _TOUCHED.finditer(text) if each["table"].lower() in tables]
    for each in touched:
        table = each["table"].lower()
        if each["verb"].upper() == "INTO":
            columns = re.match(r"[^(]*\(([^)]*)\)", text[each.end("table") :])
            if columns is None or "world_id" not in columns[1]:
                yield f"INSERT INTO {table} names no world_id"
        elif not _tied(text, (each["alias"] or table).lower()):
            yield f"{each['verb']} {table} is tied to no world_id"
    given = _GIVEN.search(text) or _ASKED.search(text)
    if any(each["verb"].upper() != "INTO" for each in touched) and not given:
        yield "no world_id is compared with an argument"


def _tied(text: str, alias: str) -> bool:
    """Whether the world of this table is compared with anything."""
    own = rf"(?:\b{alias}\.|(?<![.\w]))world_id"
    return bool(
        re.search(rf"{own}\s*=|=\s*{own}\b", text)
        or re.search(rf"\([^()]*{own}[^()]*\)\s*(?:=|<|>|IN\b)", text, re.IGNORECASE)
        or re.search(r"USING\s*\(\s*world_id\b", text, re.IGNORECASE)
    )


async def without_world(url: str) -> set[str]:
    """The tables that have no world."""
    every = await rows(
        url,
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
        "AND tablename !~ '^search_vectors_[0-9]'",
    )
    return {row["tablename"] for row in every} - await tenant_tables(url)
