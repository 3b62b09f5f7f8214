"""Check signatures: no function returns a driver's record, and none takes many arguments by position.

    python tools/check_signatures.py [ROOT]

Checked are all functions and methods of `src`, also those inside others. A return type may not contain
`asyncpg.Record`: a record's columns are neither named nor typed, so a query function returns a row (see
`foundation/database/rows.py`). At most nine arguments may be given by position, without `self` and `cls`:
more of them are confused with each other, and belong in one object. `*arguments` count as one; in a module of
queries they may not be, because they are the columns of a row without names and types.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_ARGUMENTS = 9

_RECORD = re.compile(r"\bRecord\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the signature of a function."""

    path: str
    line: int
    name: str
    what: str


def faults_of(path: str, tree: ast.Module) -> Iterator[Fault]:
    """The faults of all functions in a module, in the order of its lines."""
    functions = (node for node in ast.walk(tree) if isinstance(node, Function))
    for function in sorted(functions, key=lambda each: each.lineno):
        for what in _faults(function, of_queries=path.endswith("queries.py")):
            yield Fault(path, function.lineno, function.name, what)


def _faults(function: Function, *, of_queries: bool) -> Iterator[str]:
    if function.returns is not None and _RECORD.search(ast.unparse(function.returns)):
        yield "returns a record: return a row, made by foundation/database/rows.py"
    given = function.args
    names = [each.arg for each in [*given.posonlyargs, *given.args]]
    count = len(names) - (names[:1] in (["self"], ["cls"])) + (given.vararg is not None)
    if count > MOST_ARGUMENTS:
        yield (
            f"takes {count} arguments by position, and {MOST_ARGUMENTS} are allowed: make them one object, "
            "or pass them by name"
        )
    if of_queries and given.vararg is not None:
        yield f"takes *{given.vararg.arg}: name each argument, or make them one object"


def faults(root: Path) -> list[Fault]:
    """Every fault below `root`/src."""
    return [
        fault
        for path in sorted((root / "src").rglob("*.py"))
        for fault in faults_of(path.relative_to(root).as_posix(), ast.parse(path.read_text()))
    ]


def main() -> int:
    """1 with a line for each fault on standard error, else 0."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    found = faults(root)
    for each in found:
        print(f"{each.path}:{each.line}: {each.name} {each.what}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
