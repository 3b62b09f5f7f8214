"""What the slices declare is what there is: in the database, the code, the contract and the pages."""

from __future__ import annotations

import ast
from pathlib import Path

import asyncpg
import pytest

import lapel
from lapel import app
from lapel.foundation.slices import OWN_IDS, Slice
from lapel.slices.projects.scopes import SCOPES
from tests.slices.crash_points import points_in
from tests.slices.nouns import folder_of
from tests.slices.pages import page_of
from tests.support.declared import declared_services
from tests.support.strict.events import TYPES

SOURCE = Path(lapel.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "slices.md"


def named(each: Slice) -> str:
    return each.name


def test_the_scopes_are_those_of_the_contract() -> None:
    declared = [scope for each in app.SLICES for scope in each.scopes]
    assert sorted(declared) == sorted(SCOPES)


def test_operations_ask_only_for_scopes_and_tokens_of_slices() -> None:
    scopes = {scope for each in app.SLICES for scope in each.scopes}
    kinds = {kind.name for each in app.SLICES for kind in each.token_kinds}
    for operation in declared_services().operations:
        access = operation.access
        assert {access.scope, *access.more_scopes} - {None} <= scopes, operation.name
        assert access.callers <= kinds, operation.name


def test_errors_and_rate_limits_of_operations_are_declared() -> None:
    errors = {error for each in app.SLICES for error in each.errors}
    limits = {limit for each in app.SLICES for limit in each.buckets}
    for operation in declared_services().operations:
        own = {each for each in operation.errors if each.__module__.startswith("lapel.slices.")}
        assert own <= errors, operation.name
        assert operation.bucket is None or operation.bucket in limits, operation.name


async def test_the_tables_are_those_of_the_database(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert sorted(row["tablename"] for row in found) == sorted(
        each.name for each in declared_services().tables
    )


def test_no_noun_is_declared_twice() -> None:
    for nouns in (
        [prefix for each in app.SLICES for prefix in each.ids.values()] + [*OWN_IDS.values()],
        [prefix for each in app.SLICES for kind in each.token_kinds for prefix in kind.prefixes],
        [table.name for table in declared_services().tables],
        [event for each in app.SLICES for event in each.events],
        [point for each in app.SLICES for point in each.crash_points],
    ):
        assert len(nouns) == len(set(nouns))


def test_ids_are_made_with_declared_prefixes() -> None:
    declared = {prefix for each in app.SLICES for prefix in each.ids.values()} | {*OWN_IDS.values()}
    made: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ids.new"):
                prefix = node.args[0]
                assert isinstance(prefix, ast.Constant), f"{path}:{node.lineno}"
                made.add(str(prefix.value))
    assert made == declared


def test_the_events_are_those_of_the_contract() -> None:
    assert {event for each in app.SLICES for event in each.events} == set(TYPES)


@pytest.mark.parametrize("each", app.SLICES, ids=named)
def test_the_crash_points_are_those_in_the_code(each: Slice) -> None:
    found = points_in(folder_of(each))
    assert [point for point in each.crash_points if not any(it.fullmatch(point) for it in found)] == []
    assert [it.pattern for it in found if not any(it.fullmatch(point) for point in each.crash_points)] == []


def test_the_page_has_every_slice() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("|")] == page_of(app.SLICES)
