"""The nouns that slices declare, and the places where Python source names them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import lapel
from lapel.foundation.slices import Slice
from tests.slices.pages import limits_of

_SQL = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|ONLY)\s+(?:ONLY\s+)?([a-z_]+)")
_ID = re.compile(r"(?<![A-Za-z0-9_])([a-z]+)_(?=$|[0-9A-Z%…])")


def folder_of(each: Slice) -> Path:
    """The folder of a slice's source, by the first function that is its own; else by its name."""
    files = (Path(inspect.getfile(made)) for made in (each.operations, each.mounts, each.build))
    own = next((file.parent for file in files if file.name != "slices.py"), None)
    return own or Path(lapel.__file__).parent / "slices" / each.name


def nouns_of(slices: Sequence[Slice]) -> dict[str, set[str]]:
    """Every declared noun, by its kind."""
    return {
        "table": {table.name for each in slices for table in each.tables},
        "scope": {scope for each in slices for scope in each.scopes},
        "id prefix": {prefix for each in slices for prefix in each.ids.values()},
        "token kind": {kind.name for each in slices for kind in each.token_kinds},
        "token prefix": {prefix for each in slices for kind in each.token_kinds for prefix in kind.prefixes},
        "error": {name for each in slices for error in each.errors for name in (error.__name__, error.code)},
        "rate limit": {limit.name for limit in limits_of(slices)},
        "lane": {lane.name for each in slices for lane in each.lanes},
        "event": {event for each in slices for event in each.events},
    }


def named_in(source: str, nouns: dict[str, set[str]]) -> Iterator[tuple[int, str]]:
    """(line, `kind noun`) of each noun that stands in the code: in a string, or as a name. Docstrings do not
    count."""
    tree = ast.parse(source)
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield from ((node.lineno, each) for each in _in_text(node.value, nouns))
        elif isinstance(node, ast.Name | ast.Attribute | ast.alias | ast.ClassDef):
            name = _name(node)
            if name in nouns["error"]:
                yield node.lineno, f"error {name}"


def _name(node: ast.Name | ast.Attribute | ast.alias | ast.ClassDef) -> str:
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
        case _:
            return node.name


def _in_text(text: str, nouns: dict[str, set[str]]) -> Iterator[str]:
    words = {each.strip("_.:") for each in re.findall(r"[A-Za-z0-9_:.]+", text)}
    for kind, known in nouns.items():
        if kind in ("token kind", "id prefix", "rate limit", "lane"):  # common words: only as a value
            found = {text} & known
        elif kind == "token prefix":  # `up` is a word, too
            found = {
                each
                for each in known
                if text == each or f"{each}_" in text or (len(each) > 2 and each in words)
            }
        elif kind == "table":
            found = ({text} | set(_SQL.findall(text))) & known
        else:
            found = words & known
        if kind == "id prefix":
            found |= set(_ID.findall(text)) & known
        yield from (f"{kind} {each}" for each in sorted(found))
