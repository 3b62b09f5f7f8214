"""What the slices declare is what there is: in the database, the code, the contract and the pages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from inspect import isfunction
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any

import asyncpg
import pytest

import lapel
from lapel import app
from lapel.foundation.core.actors import ANONYMOUS
from lapel.foundation.http.operations import Operation
from lapel.foundation.slices import Slice
from lapel.slices.projects.scopes import SCOPES
from tests.slices.crash_points import points_in
from tests.slices.nouns import folder_of
from tests.slices.pages import every_error, page_of
from tests.support.declared import TOKEN_KINDS, TOKEN_PREFIXES, declared_services
from tests.support.strict.events import TYPES

SOURCE = Path(lapel.__file__).parent
# Prefixes of ids that the foundation makes: requests, events, entries of the audit log.
FOUNDATION_IDS = {"req", "evt", "aud"}
PAGE = Path(__file__).parents[2] / "docs" / "slices.md"


def named(each: Slice) -> str:
    return each.name


def test_the_scopes_are_those_of_the_contract() -> None:
    declared = [scope for each in app.SLICES for scope in each.scopes]
    assert sorted(declared) == sorted(SCOPES)


def test_every_scope_that_a_key_may_have_opens_an_operation() -> None:
    """An error about a key's scopes lists them: one that opens nothing would be an empty promise."""
    asked = {
        scope
        for operation in declared_services().operations
        for scope in (operation.access.scope, operation.access.or_scope, *operation.access.more_scopes)
    }
    assert set(SCOPES) <= asked


def test_operations_ask_only_for_scopes_and_tokens_of_slices() -> None:
    scopes = {scope for each in app.SLICES for scope in each.scopes}
    kinds = {kind.name for each in app.SLICES for kind in each.token_kinds}
    for operation in declared_services().operations:
        access = operation.access
        asked = {access.scope, access.or_scope, *access.more_scopes}
        assert asked - {None} <= scopes, operation.name
        assert access.callers <= kinds, operation.name


def test_errors_and_rate_limits_of_operations_are_declared() -> None:
    errors = {error for each in app.SLICES for error in each.errors}
    limits = {limit for each in app.SLICES for limit in each.buckets}
    for operation in declared_services().operations:
        own = {each for each in operation.errors if each.__module__.startswith("lapel.slices.")}
        assert own <= errors, operation.name
        assert operation.bucket is None or operation.bucket in limits, operation.name


def test_every_error_is_the_foundations_or_declared_by_its_slice() -> None:
    declared = {f"lapel.slices.{each.name}.": each.errors for each in app.SLICES}
    for error in every_error():
        if not error.__module__.startswith("lapel.foundation."):
            own = next(own for name, own in declared.items() if error.__module__.startswith(name))
            assert error in own, error


async def test_the_tables_are_those_of_the_database(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    found = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename !~ '^search_vectors_[0-9]'"
    )
    await connection.close()
    assert sorted(row["tablename"] for row in found) == sorted(
        each.name for each in declared_services().tables
    )


def test_no_noun_is_declared_twice() -> None:
    for nouns in (
        [prefix for each in app.SLICES for prefix in each.ids.values()] + [*FOUNDATION_IDS],
        [prefix for each in app.SLICES for kind in each.token_kinds for prefix in kind.prefixes],
        [table.name for table in declared_services().tables],
        [event for each in app.SLICES for event in each.events],
        [point for each in app.SLICES for point in each.crash_points],
    ):
        assert len(nouns) == len(set(nouns))


def test_ids_are_made_with_declared_prefixes() -> None:
    declared = {prefix for each in app.SLICES for prefix in each.ids.values()} | FOUNDATION_IDS
    made: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ids.new"):
                prefix = node.args[0]
                assert isinstance(prefix, ast.Constant), f"{path}:{node.lineno}"
                made.add(str(prefix.value))
    assert made == declared


def test_holders_are_of_declared_kinds() -> None:
    kinds = {each.name for each in TOKEN_KINDS} | {ANONYMOUS.kind}
    found = list(kinds_of_holders())
    assert [at for at, word in found if word not in kinds] == []
    assert {word for _, word in found} == kinds


def test_tokens_are_made_with_declared_prefixes() -> None:
    assert sorted(prefixes_of_new_tokens()) == sorted(TOKEN_PREFIXES)


def prefixes_of_new_tokens() -> set[str]:
    """The prefixes of the tokens that the source makes. Each is a module's constant, or an entry of one."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(ast.Name("new_token"), [ast.Subscript(table)]):
                    found.update(constant_of(path, table).values())
                case ast.Call(ast.Name("new_token"), [prefix]):
                    found.add(constant_of(path, prefix))
                case _:
                    pass
    return found


def constant_of(path: Path, node: ast.expr) -> Any:
    """What a (dotted) name means in the module of a file."""
    module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return attrgetter(ast.unparse(node))(import_module(module))


def kinds_of_holders() -> Iterator[tuple[str, str]]:
    """(place, kind) where the source names a kind of holder."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Compare | ast.Call):
                continue
            at = f"{name}:{node.lineno}"
            match node:
                case ast.Compare(ast.Attribute(ast.Name("actor"), "kind"), _, compared):
                    yield from ((at, word) for word in _texts(*compared))
                case ast.Call(ast.Name("Actor" | "TokenKind"), _, words):
                    named = [each.value for each in words if each.arg in ("kind", "name")]
                    yield from ((at, word) for word in _texts(*named))
                case ast.Call(ast.Name("actor_of"), [_, kind, *_]):
                    yield from ((at, word) for word in _texts(kind))
                case ast.Call(ast.Name("Access"), arguments, words):
                    callers = [*arguments[1:2], *(each.value for each in words if each.arg == "callers")]
                    yield from ((at, word) for word in _texts(*callers))
                case _:
                    pass


def _texts(*nodes: ast.AST) -> Iterator[str]:
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value


def test_handlers_read_an_id_only_from_paths_that_have_one() -> None:
    reading = [each for each in declared_services().operations if reads_id(each)]
    assert len(reading) >= 40
    assert [each.path for each in reading if not each.parameters] == []


def reads_id(operation: Operation) -> bool:
    """Whether one of the operation's functions reads `id` of its call."""
    handler = operation.handler
    functions = (getattr(handler, each.name) for each in fields(handler))
    return any(
        isinstance(node, ast.Attribute) and node.attr == "id" and ast.unparse(node.value) == "call"
        for function in functions
        if isfunction(function)
        for written in source_of(function)
        for node in ast.walk(written)
    )


def source_of(function: FunctionType) -> Iterator[ast.AST]:
    """The lambdas and functions that begin in the function's line."""
    for node in ast.walk(parsed(function.__code__.co_filename)):
        is_function = isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and node.lineno == function.__code__.co_firstlineno:
            yield node


@cache
def parsed(file: str) -> ast.Module:
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def test_the_events_are_those_of_the_contract() -> None:
    assert {event for each in app.SLICES for event in each.events} == set(TYPES)


@pytest.mark.parametrize("each", app.SLICES, ids=named)
def test_the_crash_points_are_those_in_the_code(each: Slice) -> None:
    found = points_in(folder_of(each))
    assert [point for point in each.crash_points if not any(it.fullmatch(point) for it in found)] == []
    assert [it.pattern for it in found if not any(it.fullmatch(point) for point in each.crash_points)] == []


def test_every_lane_takes_a_batch() -> None:
    """The queue worker asks for half as many jobs as a lane runs, and the queue refuses to give none."""
    for lane in (lane for each in app.SLICES for lane in each.lanes):
        assert lane.at_once >= 2, f"{lane.name}: its jobs would never run"


def test_the_page_has_every_slice() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("|")] == page_of(app.SLICES)
