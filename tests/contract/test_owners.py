"""Tables have owners: a statement touches the tables of its own slice, and few others, each with a reason.

A slice that needs another's table calls its service, or puts a fragment of SQL into its statement that the
other's service exports: the tables that the fragment touches count as used by their owner.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lapel import app
from lapel.foundation.slices import OWN_TABLES
from tests.support.statements import modules, tenant_tables

# Each table's slice; the foundation's own are those that no slice has, and the queue (the schema `jobs`).
OWNER = {table.name: "foundation" for table in OWN_TABLES} | {"jobs": "foundation"}
OWNER |= {table.name: each.name for each in app.SLICES for table in each.tables}

# A world is the first column of nearly every table: everybody may read its project and mode. And everybody
# may ask for the schema's revision.
READ_BY_ALL = {"alembic_version", "worlds"}

# What stays, as `statement table`, and why. Both lists may only become shorter.
WRITES: dict[str, tuple[str, ...]] = {
    "a revision is the configuration's own column in the rows of its subjects": (
        "slices.configuration.queries.RAISE_DEVICES devices",
        "slices.configuration.queries.RAISE_END_USER end_users",
        "slices.configuration.queries.RAISE_WORLD worlds",
        "slices.configuration.operator.operator_queries.RAISE_WORLDS worlds",
    ),
}
READS: dict[str, tuple[str, ...]] = {
    "the revision that a device sees is the greatest of its subjects'": (
        "slices.configuration.service.REVISION end_users",
    ),
    "an override has a subject; devices stand above the configuration, whose sections their settings are": (
        "slices.configuration.queries.LOCK_DEVICE devices",
        "slices.configuration.queries.RESOLVE_DEVICE devices",
        "slices.configuration.queries.RESOLVE_END_USER end_users",
        "slices.configuration.queries.RESOLVE_SECTION_OF_DEVICES devices",
    ),
    "recordings stand above devices, and a device does not show a recording that was deleted": (
        "slices.devices.queries.READ recordings",
        "slices.devices.queries.READ_ONE recordings",
    ),
    "one statement finds the devices that fit a rollout, and offers it to them": (
        "slices.firmware.assignments.assignment_state_queries.OFFER devices",
    ),
    "a token ends with the key that issued it": (
        "slices.end_users.end_user_token_queries.FIND_END_USER api_keys",
        "slices.recordings.uploads.token_lookup_queries.FIND_UPLOAD api_keys",
    ),
    "a repeat does not show a deleted end user; the foundation knows no slice": (
        "foundation.http.strategies.idempotency.FIND end_users",
    ),
    "every slice writes events, so the foundation has them; one slice shows them": (
        "slices.events.queries.FIND events",
        "slices.events.queries.SIZE events",
        "slices.events.queries.READ_STREAM events",
        "slices.events.queries.LAST_POSITION event_positions",
    ),
    "the operator's command counts keys and tokens of all kinds": (
        "cli.shared.queries.MADE_UNDER_OTHERS api_keys",
        "cli.shared.queries.MADE_UNDER_OTHERS device_tokens",
        "cli.shared.queries.MADE_UNDER_OTHERS end_user_tokens",
    ),
}

_TOUCHED = re.compile(
    r"\b(?P<verb>DELETE\s+FROM|FROM|JOIN|UPDATE(?!\s+SET\b)|INTO|USING)\s+(?:ONLY\s+)?(?P<table>[a-z_]+)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """A statement's use of a table."""

    statement: str
    table: str
    writes: bool


def owner_of(module: str) -> str:
    """The slice of a module, or the layer of a module that is in no slice."""
    _, layer, *rest = module.split(".")
    return rest[0] if layer == "slices" and rest else layer


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Module and name of what a module imports from others of the package."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lapel."):
            yield from ((str(node.module), alias.name) for alias in node.names)


def name_of(constant: ast.Assign) -> str:
    """The name of a constant."""
    return ast.unparse(constant.targets[0])


def touched(text: object) -> Iterator[re.Match[str]]:
    """Where a text names a table, or what looks like one."""
    return _TOUCHED.finditer(re.sub(r"--[^\n]*", "", str(text)))


@cache
def own_texts(module: str) -> dict[str, str]:
    """The constants of a module that are texts, without the fragments that other owners export."""
    found = vars(importlib.import_module(module))
    tree = ast.parse(Path(str(found["__file__"])).read_text(encoding="utf-8"))
    constants = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(found.get(node.targets[0].id), str)
    ]
    if not any(each["table"] in OWNER for node in constants for each in touched(found[name_of(node)])):
        return {}
    names: dict[str, Any] = dict(found)
    for origin, name in imported(tree):
        is_foreign = owner_of(origin) != owner_of(module)
        if isinstance(names.get(name), str):
            names[name] = "" if is_foreign else own_texts(origin).get(name, names[name])
        elif is_foreign and callable(names.get(name)):
            names[name] = lambda *_, **__: ""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    exec(compile(ast.Module([*functions, *constants], []), f"<{module}>", "exec"), names)
    return {name_of(node): names[name_of(node)] for node in constants}


def uses(module: str, name: str, text: str) -> Iterator[Use]:
    """The uses of other owners' tables in a text of a module."""
    for each in touched(text):
        table, verb = each["table"].lower(), each["verb"].upper()
        if OWNER.get(table, owner_of(module)) != owner_of(module):
            yield Use(f"{module}.{name}", table, verb.startswith(("DELETE", "UPDATE", "INTO")))


@cache
def foreign() -> frozenset[Use]:
    """Every use of a table in a statement of another owner."""
    found = {
        use
        for module in modules()
        for name, text in own_texts(module).items()
        if not name.startswith("_")  # a part of the others
        for use in uses(module, name, text)
    }
    # A DELETE or UPDATE reads the table, too.
    written = {(use.statement, use.table) for use in found if use.writes}
    return frozenset(
        use
        for use in found
        if use.writes or (use.table not in READ_BY_ALL and (use.statement, use.table) not in written)
    )


def listed(reasons: dict[str, tuple[str, ...]], *, writes: bool) -> set[Use]:
    """The uses that a list of reasons names as `statement table`."""
    return {
        Use(f"lapel.{use.split()[0]}", use.split()[1], writes) for each in reasons.values() for use in each
    }


def test_a_table_is_written_by_its_owner() -> None:
    assert {use for use in foreign() if use.writes} == listed(WRITES, writes=True)


def test_a_table_is_read_by_its_owner() -> None:
    assert {use for use in foreign() if not use.writes} == listed(READS, writes=False)


def test_few_tables_are_used_by_others() -> None:
    assert len(listed(WRITES, writes=True)) <= 4
    assert len(listed(READS, writes=False)) <= 19


async def test_every_table_has_an_owner(fresh_database: str) -> None:
    assert await tenant_tables(fresh_database) <= set(OWNER)


@pytest.mark.parametrize(
    ("text", "table", "writes"),
    [
        ("SELECT id FROM devices d WHERE d.world_id = $1", "devices", False),
        ("SELECT 1 FROM commands c JOIN devices d ON d.id = c.device_id", "devices", False),
        ("WITH a AS (UPDATE devices SET name = $1) SELECT 1", "devices", True),
        ("DELETE FROM devices WHERE id = $1", "devices", True),
        ("INSERT INTO devices (id) VALUES ($1)", "devices", True),
    ],
)
def test_a_foreign_table_is_noticed(text: str, table: str, writes: bool) -> None:
    module = "lapel.slices.commands.queries"
    assert list(uses(module, "X", text)) == [Use(f"{module}.X", table, writes)]
    assert not list(uses("lapel.slices.devices.queries", "X", text.replace("commands", "devices")))


def test_a_fragment_counts_as_its_owners() -> None:
    # `present` reads end_users; READ puts it into a statement about commands.
    assert "end_users" not in own_texts("lapel.slices.commands.queries")["READ"]
    assert "commands c" in own_texts("lapel.slices.commands.queries")["READ"]
