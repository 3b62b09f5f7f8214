"""The crash points that stand in the code of a slice."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path


def points_in(folder: Path) -> list[re.Pattern[str]]:
    """What the calls of `crash_point` below a folder name. A part that is made up at run time is any word."""
    found: list[re.Pattern[str]] = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "crash_point"
            ):
                found += [re.compile(each) for each in _names(node.args[0])]
    return found


def _names(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant():
            yield re.escape(str(node.value)).replace(r"\-", "-")
        case ast.IfExp():
            yield from (*_names(node.body), *_names(node.orelse))
        case ast.JoinedStr():
            parts = [str(each.value) if isinstance(each, ast.Constant) else "[a-z-]+" for each in node.values]
            yield "".join(parts)
        case _:
            raise AssertionError(f"line {node.lineno}: a crash point is a text")
